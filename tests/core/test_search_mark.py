"""The token of a page leads on in its own search and is refused everywhere else."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import encode as packed

from sidecar.core.errors import ValidationFailed
from sidecar.core.search_mark import PLACE_MAX, START, TOKEN_LENGTH_MAX, Mark, mark_of, token_of

marks = st.builds(Mark, st.text(st.characters(exclude_categories=["Cs"]), max_size=128), st.integers(0, PLACE_MAX))


@given(marks, st.binary())
def test_a_token_leads_back_to_its_mark(mark: Mark, search: bytes) -> None:
    assert mark_of(token_of(mark, search), search) == mark


@given(marks, st.binary(), st.binary())
def test_a_token_of_another_search_is_refused(mark: Mark, search: bytes, other: bytes) -> None:
    if search != other:
        with pytest.raises(ValidationFailed, match="not one of this search"):
            mark_of(token_of(mark, search), other)


@given(st.data())
def test_a_damaged_token_is_refused(data: st.DataObject) -> None:
    token = token_of(Mark("i1", 7), b"search")
    place = data.draw(st.integers(0, len(token) - 2))
    damaged = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
    with pytest.raises(ValidationFailed):
        mark_of(damaged, b"search")


@pytest.mark.parametrize("text", ["", "!", "é", "AAAA", "A", "A" * (TOKEN_LENGTH_MAX + 1), "\ud800"])
def test_what_was_never_a_token_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        mark_of(text, b"search")
    assert raised.value.field == "page.token"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\xa0\x00\x00\x00",
        b"\x92\xa1\xff\x00",
        b"\x91\x07",
        packed(["a", -1]),
        packed(["a", PLACE_MAX + 1]),
    ],
)
def test_what_somebody_made_up_is_refused_though_its_sum_is_right(body: bytes) -> None:
    """Nothing in a token is secret: whoever knows how one is made can make one."""
    check = hashlib.sha256(packed((b"search", body))).digest()[:12]
    token = base64.urlsafe_b64encode(check + body).rstrip(b"=").decode()
    with pytest.raises(ValidationFailed, match="not one of this search"):
        mark_of(token, b"search")


def test_the_longest_id_of_a_resource_fits() -> None:
    mark = Mark("\U0001f600" * 512)
    assert mark_of(token_of(mark, b""), b"") == mark
    assert Mark() == START
