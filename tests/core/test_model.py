"""Requests as values: their canonical bytes, and which data of a caller Cedar can take."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.core.model import (
    CEDAR_ESCAPES,
    LONG_MAX,
    AuthorizeRequest,
    ClaimedTags,
    ResourceRef,
    check_key,
    check_plain,
)
from sidecar.core.money import NumberText
from tests.core.builders import purchase

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-LONG_MAX - 1, LONG_MAX) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def refusal(value: object) -> tuple[str, str | None]:
    """Sentence and field of the refusal of ``value`` as the context."""
    with pytest.raises(ValidationFailed) as caught:
        check_plain(value, "context")
    return caught.value.message, caught.value.field


@given(PLAIN)
def test_plain_data_pass_unchanged(value: object) -> None:
    assert check_plain(value, "context") == value


@pytest.mark.parametrize("text", ["1.0", "1e3", "1e400"])
def test_a_number_with_a_fraction_or_exponent_is_refused_by_its_text(text: str) -> None:
    message, field = refusal({"a": [1, NumberText(text)]})
    assert f"`{text}`" in message
    assert field == "context.a[1]"


@pytest.mark.parametrize("value", [LONG_MAX + 1, -LONG_MAX - 2])
def test_an_integer_beyond_64_bits_is_refused(value: int) -> None:
    assert refusal({"a": value}) == ("an integer must fit 64 bits", "context.a")


@pytest.mark.parametrize("key", sorted(CEDAR_ESCAPES))
def test_a_key_that_cedar_reads_as_a_call_is_refused_at_any_depth(key: str) -> None:
    assert refusal({"a": [{"b": {key: 1}}]}) == (f"the key `{key}` is not allowed", f"context.a[0].b.{key}")
    with pytest.raises(ValidationFailed):
        check_key(key, "context")


@pytest.mark.parametrize("value", [1.5, b"bytes", (1,), {1}])
def test_what_json_does_not_know_is_refused(value: object) -> None:
    assert refusal([value]) == (f"unsupported value of type `{type(value).__name__}`", "context[0]")


@given(st.dictionaries(TEXT, PLAIN, max_size=3), st.dictionaries(TEXT, st.integers(0, 10**15), max_size=3))
def test_canonical_bytes_stand_for_one_request(context: dict[str, object], quantities: dict[str, int]) -> None:
    request = purchase(context=context, quantities=quantities)
    assert msgspec.json.decode(request.canonical(), type=AuthorizeRequest) == request


@given(st.dictionaries(TEXT, st.integers(0, 9), min_size=2, max_size=4))
def test_the_order_in_which_keys_were_written_does_not_matter(context: dict[str, int]) -> None:
    turned = dict(reversed(context.items()))
    assert purchase(context=context).canonical() == purchase(context=turned).canonical()


@pytest.mark.parametrize(
    "changes",
    [
        {"identity_id": "x"},
        {"action": "x"},
        {"amount_minor": 1},
        {"currency": "USD"},
        {"merchant_category": "7372"},
        {"quantities": {"tokens": 1}},
        {"attributes": {"country": "CA"}},
        {"context": {"purpose": "x"}},
        {"card_id": "card_1"},
        {"ttl_seconds": 61},
    ],
)
def test_another_request_has_other_canonical_bytes(changes: dict[str, object]) -> None:
    assert purchase(**changes).canonical() != purchase().canonical()


def test_canonical_bytes_are_sorted_json_without_spaces() -> None:
    text = purchase(context={"b": 1, "a": "Zoë"}).canonical().decode()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


# --- What stands for a request ----------------------------------------------------------------------------------------

WHOLE = AuthorizeRequest(
    identity_id="agent-1",
    action="card.authorize",
    resource=ResourceRef("merchant", "AWS"),
    amount_minor=4723,
    currency="CAD",
    merchant_category="7372",
    quantities={"tokens": 1200},
    attributes={"b": 1, "a": "x"},
    context={"k": [1, True, None]},
    card_id="card_1",
    ttl_seconds=604_800,
)


def test_the_bytes_of_a_request_without_claimed_tags_are_those_of_before_there_were_any() -> None:
    """They are hashed into records that lie in logs already."""
    digest = hashlib.sha256(WHOLE.canonical()).hexdigest()
    assert digest == "e611877c7edf2b74a9b379aade54db8abf55d3d384511ed8450e5f647dcc2245"


def test_claimed_tags_are_part_of_what_stands_for_a_request() -> None:
    """They come back out of the bytes, as a replay reads them; two requests that claim different things differ."""
    claiming = msgspec.structs.replace(WHOLE, tags=ClaimedTags({"role": "admin"}))
    other = msgspec.structs.replace(WHOLE, tags=ClaimedTags({}, {"role": "admin"}))
    assert len({each.canonical() for each in (WHOLE, claiming, other)}) == 3
    for request in (WHOLE, claiming, other):
        assert msgspec.json.decode(request.canonical(), type=AuthorizeRequest) == request
