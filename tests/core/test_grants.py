"""A grant says what holds at a time, and what is signed is all that it says."""

import hashlib

import msgspec
import orjson
import pytest

from sidecar.core.grants import Grant, challenge, signed_text, url_safe
from sidecar.core.model import ResourceRef
from tests.core.builders import budget

GRANT = Grant(
    grant_id="grt_1",
    identity_id="bot",
    account_id="acct_1",
    owner_id="ann",
    asset="USDC",
    max_per_tx=5_000_000,
    daily_cap=12_000_000,
    recipients=(ResourceRef("agent", "shop"),),
    expires_at_us=1_000_000,
    nonce=bytes(16),
    created_at_us=0,
    revision=3,
)


def test_a_grant_runs_out_at_its_time() -> None:
    assert [GRANT.has_run_out(now) for now in (999_999, 1_000_000)] == [False, True]
    assert not msgspec.structs.replace(GRANT, expires_at_us=None).has_run_out(10**18)


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [("pending", "pending", "expired"), ("active", "active", "expired"), ("revoked", "revoked", "revoked")],
)
def test_one_that_has_run_out_is_shown_as_expired_unless_it_is_revoked(status: str, before: str, after: str) -> None:
    grant = msgspec.structs.replace(GRANT, status=status)
    assert (grant.shown_status(0), grant.shown_status(1_000_000)) == (before, after)


def test_what_is_signed_is_canonical_json_of_all_that_is_agreed_to() -> None:
    assert orjson.loads(signed_text(GRANT, "t_one")) == {
        "format": "sidecar/grant/v1",
        "tenant_id": "t_one",
        "grant_id": "grt_1",
        "identity_id": "bot",
        "account_id": "acct_1",
        "owner_id": "ann",
        "asset": "USDC",
        "max_per_tx_minor": 5_000_000,
        "daily_cap_minor": 12_000_000,
        "recipients": [["agent", "shop"]],
        "expires_at_us": 1_000_000,
        "nonce": "AAAAAAAAAAAAAAAAAAAAAA",
    }
    assert signed_text(GRANT, "t_one").startswith(b'{"account_id":"acct_1","asset":"USDC","daily_cap_minor":12000000')
    assert challenge(GRANT, "t_one") == hashlib.sha256(signed_text(GRANT, "t_one")).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"grant_id": "grt_2"},
        {"identity_id": "other"},
        {"account_id": "acct_2"},
        {"owner_id": "bob"},
        {"asset": "SOL"},
        {"max_per_tx": None},
        {"daily_cap": 12_000_001},
        {"recipients": ()},
        {"recipients": (ResourceRef("account", "shop"),)},
        {"expires_at_us": None},
        {"nonce": bytes(15) + b"1"},
    ],
)
def test_another_content_is_another_challenge(changes: dict[str, object]) -> None:
    assert challenge(msgspec.structs.replace(GRANT, **changes), "t_one") != challenge(GRANT, "t_one")


def test_the_same_grant_of_another_tenant_is_another_challenge() -> None:
    assert challenge(GRANT, "t_two") != challenge(GRANT, "t_one")


@pytest.mark.parametrize("changes", [{"status": "active"}, {"revision": 9}, {"policy_id": "pol_1"}])
def test_what_becomes_of_a_grant_is_not_signed(changes: dict[str, object]) -> None:
    assert challenge(msgspec.structs.replace(GRANT, **changes), "t_one") == challenge(GRANT, "t_one")


def test_bytes_are_written_as_webauthn_does() -> None:
    assert url_safe(b"\xfb\xff\xfe") == "-__-"
    assert url_safe(b"a") == "YQ"


@pytest.mark.parametrize(("status", "found_by"), [("pending", None), ("active", "bot\nacct_1"), ("revoked", None)])
def test_an_active_grant_is_found_by_who_pays_and_from_where(status: str, found_by: str | None) -> None:
    assert msgspec.structs.replace(GRANT, status=status).found_by == found_by


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"period": "rolling_24h", "limit": 12_000_000}, True),
        ({"period": "rolling_24h", "limit": 0, "on_exceeded": "suspend"}, True),
        ({"period": "rolling_24h", "limit": 12_000_001}, False),
        ({"period": "per_transaction", "limit": 5_000_000}, True),
        ({"period": "per_transaction", "limit": 5_000_001}, False),
        ({"period": "per_transaction", "limit": 1, "on_exceeded": "notify"}, False),
    ],
)
def test_a_budget_keeps_to_what_was_signed_when_it_refuses_everything_more(
    changes: dict[str, object], *, is_kept: bool
) -> None:
    assert GRANT.is_kept_by(budget(currency="USDC", **changes)) is is_kept
