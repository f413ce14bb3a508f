"""Bytes in the store: versions, and keys whose order is the order of what they stand for."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.directory import Tenant
from sidecar.core.errors import StoreUnusable
from sidecar.state.codec import (
    HASH_BYTES,
    KEY_TEXT_BYTES_MAX,
    TENANT_U64,
    U32,
    U64,
    decode,
    encode,
    key_text,
    short_hash,
)
from tests.state.builders import a_tenant

DECODER = msgspec.msgpack.Decoder(Tenant)


def test_a_document_comes_back_as_it_was() -> None:
    assert decode(encode(a_tenant()), DECODER) == a_tenant()


@pytest.mark.parametrize("version", [b"", b"\x00", b"\x02"], ids=["none", "0", "2"])
def test_a_document_of_another_version_is_refused_never_guessed(version: bytes) -> None:
    with pytest.raises(StoreUnusable, match="this version reads `01`"):
        decode(version + encode(a_tenant())[1:] if version else b"", DECODER)


@pytest.mark.parametrize("content", [b"", b"\xc1", b"\x90"], ids=["cut", "garbage", "other shape"])
def test_a_document_that_does_not_fit_is_refused(content: bytes) -> None:
    with pytest.raises(StoreUnusable, match="a stored document cannot be read"):
        decode(b"\x01" + content, DECODER)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_keys_sort_as_the_numbers_they_hold(tenant: int, other: int, place: int, later: int) -> None:
    assert (TENANT_U64.pack(tenant, place) < TENANT_U64.pack(other, later)) == ((tenant, place) < (other, later))
    assert (U64.pack(place) < U64.pack(later)) == (place < later)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=20))
def test_no_key_of_one_tenant_begins_like_one_of_another(tenant: int, other: int, rest: bytes) -> None:
    assert (U32.pack(tenant) + rest).startswith(U32.pack(other)) == (tenant == other)


@given(st.text(max_size=600).filter(lambda text: text.isprintable()))
def test_a_text_that_no_key_can_hold_is_told_apart(text: str) -> None:
    size = len(text.encode())
    assert key_text(text) == (text.encode() if 0 < size <= KEY_TEXT_BYTES_MAX else None)


def test_a_long_value_has_a_stand_in_of_fixed_width() -> None:
    assert len(short_hash("")) == len(short_hash("x" * 1000)) == HASH_BYTES
    assert short_hash("a") != short_hash("b")
