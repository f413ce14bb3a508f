"""How old the data of a decision was, as the native door says it."""

import msgspec
import orjson
import pytest

from sidecar.core.model import Decision
from sidecar.doors.native import render

DENIAL = Decision(
    decision_id=None,
    identity_id="bob",
    action="tool.call",
    allowed=False,
    reasons=(),
    budget_checks=(),
    reserved_minor=None,
    currency=None,
    reserved_quantities={},
    expires_at_us=None,
    evaluated_at_us=0,
    policy_revision="sha256:0",
    entity_revision=1,
    audit=None,
)


@pytest.mark.parametrize(
    ("age_us", "text"),
    [
        (None, b"null"),
        (0, b"0"),
        (1, b"0.001"),
        (1_500_000, b"1.5"),
        (20_000_000, b"20"),
        (60_000_001, b"60.001"),
        (2_678_400_010_000, b"2678400.01"),
    ],
)
def test_an_age_is_a_number_of_seconds_to_the_millisecond_and_never_less_than_it_is(
    age_us: int | None, text: bytes
) -> None:
    document = render.decision(msgspec.structs.replace(DENIAL, data_age_us=age_us))
    assert b'"data_age_seconds":' + text + b"," in orjson.dumps(document)
