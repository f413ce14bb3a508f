"""What a follower's record tells of its control plane's word is read as it was written."""

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.core.audit import DecisionFacts, Verdict, decision_body
from sidecar.core.delegation import Referral, Seat, Share, Word
from sidecar.core.model import AuditMark, AuthorizeRequest, Reason, ResourceRef
from sidecar.core.reasons import as_told
from sidecar.core.remote import Remote, referral_of
from tests.core.test_endings import word_of

SHARE = Share(budget_id="bud_1", revision=3, window_start_us=None, settled=2**53, held=7, asked=5, granted=5)
DENIED = Reason(verdict="deny", code="budget_exceeded", message="no room")
MARK = AuditMark(4, "h")
FACTS = DecisionFacts(request="r", policies="p", chain=(), budgets=())
REQUEST = AuthorizeRequest(identity_id="ann", action="tool.call", resource=ResourceRef("tool", "x"), ttl_seconds=1)


@pytest.mark.parametrize(
    ("word", "remote"),
    [
        (None, {"granted": False}),
        (
            replace(word_of(granted=True), shares=(SHARE,), audit=MARK),
            {"granted": True, "budgets": [("bud_1", 3, None, str(2**53), 7, 5)], "seq": 4, "hash": "h"},
        ),
        (
            replace(word_of(granted=False), reasons=(DENIED, DENIED), shares=(replace(SHARE, granted=0),), audit=MARK),
            {
                "granted": False,
                "codes": ("budget_exceeded",),
                "budgets": [("bud_1", 3, None, str(2**53), 7, 5)],
                "seq": 4,
                "hash": "h",
            },
        ),
        (replace(word_of(granted=False), reasons=(DENIED,)), {"granted": False, "codes": ("budget_exceeded",)}),
    ],
)
def test_a_word_is_read_as_it_was_written(word: Word | None, remote: dict[str, object]) -> None:
    """Of a denial the codes are left."""
    referral = Referral(decision_id="dec_1", word=word)
    verdict = Verdict(
        decision_id="dec_1",
        allowed=False,
        codes=(),
        determining=(),
        errors=(),
        expires_at_us=None,
        seat=Seat(at="tok_1"),
        referral=referral,
    )
    body = decision_body(
        request=REQUEST,
        verdict=verdict,
        claimed=(),
        facts=FACTS,
        engine="e",
        token_id="t",
        now_us=1,
        entity_revision=1,
    )
    assert (body["at"], body["remote"]) == ("tok_1", remote)
    read = referral_of("dec_1", msgspec.convert(remote, Remote))
    expected = None if word is None else replace(word, reasons=(as_told("budget_exceeded"),) if word.reasons else ())
    assert read == Referral(decision_id="dec_1", word=expected)
