"""Bodies in gzip: for those who take it, and only where there is something to gain."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncGenerator

import pytest

from sidecar.doors.wire.compression import COMPRESSED_BYTES_MIN, compressed, takes_gzip
from sidecar.doors.wire.http import Answer

LONG = Answer(200, b"a" * COMPRESSED_BYTES_MIN, (("ETag", '"1"'),))


@pytest.mark.parametrize(
    ("field", "taken"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("deflate, gzip;q=0.5, *;q=0", True),
        ("br, *", True),
        ("gzip; q=1.000", True),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000, *", False),
        ("*;q=0", False),
        ("gzipped", False),
    ],
)
def test_who_takes_gzip(field: str, taken: bool) -> None:  # noqa: FBT001
    assert takes_gzip(field) is taken


def test_a_long_body_is_compressed_for_who_takes_it() -> None:
    packed = compressed(LONG, "gzip")
    assert gzip.decompress(packed.body) == LONG.body
    assert packed.headers == (("ETag", '"1"'), ("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip"))
    plain = compressed(LONG, "br")
    assert (plain.body, plain.headers) == (LONG.body, (("ETag", '"1"'), ("Vary", "Accept-Encoding")))


def test_a_short_body_stays_as_it_is() -> None:
    short = compressed(Answer(200, b"a" * (COMPRESSED_BYTES_MIN - 1)), "gzip")
    assert (len(short.body), short.headers) == (COMPRESSED_BYTES_MIN - 1, (("Vary", "Accept-Encoding"),))


def test_each_piece_can_be_read_before_the_next_one_is_made() -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"one"
        yield b"two"

    async def run() -> None:
        answer = compressed(Answer(200, chunks=pieces()), "gzip")
        assert answer.chunks is not None
        reader = zlib.decompressobj(wbits=31)
        read = [reader.decompress(chunk) async for chunk in answer.chunks]
        assert read == [b"one", b"two", b""]
        assert reader.eof

    asyncio.run(run())


def test_what_makes_the_pieces_is_closed_with_the_stream() -> None:
    closed: list[bool] = []

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    async def run() -> None:
        answer = compressed(Answer(200, chunks=pieces()), "gzip")
        assert answer.chunks is not None
        await anext(answer.chunks)
        await answer.chunks.aclose()

    asyncio.run(run())
    assert closed == [True]
