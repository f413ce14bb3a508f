"""Every fact that a record leads to is found: by its address, or by way of a manifest or a list."""

import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.followed import FollowedRecord, write_followed
from sidecar.core.history import Changed, Followed
from sidecar.core.references import addresses, inner_addresses

LIST, ONE, TWO = "L" * 43, "A" * 43, "B" * 43
FOLLOWED = Followed(
    seq=3, ts_us=1, kind="followed", now_us=1, from_revision=1, to_revision=4, changes=LIST, count=4, files="f"
)
RECORDS = (
    FollowedRecord("identity", "bob", 3, ONE, 2, "root"),
    FollowedRecord("token", "tok_1", 4, "", 4, None),
    FollowedRecord("budget", "bud_1", 4, None, 0, None),
    FollowedRecord("policy", "pol_1", 4, TWO, 4, None),
)


def test_a_list_leads_to_the_versions_in_it() -> None:
    """A token has none, and neither has what is gone."""
    assert list(addresses(FOLLOWED)) == [LIST]
    assert inner_addresses(FOLLOWED, LIST, write_followed(RECORDS)) == (ONE, TWO)
    with pytest.raises(ValidationFailed, match="no list of what was followed"):
        inner_addresses(FOLLOWED, LIST, b"{}")


def test_a_version_leads_no_further() -> None:
    changed = Changed(seq=1, ts_us=1, kind="identity_created", chain=(("bob", 1, ONE),))
    assert list(addresses(changed)) == [ONE]
    assert inner_addresses(changed, ONE, b"{}") == ()
