"""Bodies in the content coding ``gzip`` for clients that take it, whole or piece by piece (RFC 9110 section 8.4.1)."""

import re
import zlib
from collections.abc import AsyncGenerator
from typing import Final

import msgspec

from sidecar.doors.wire.http import Answer

COMPRESSED_BYTES_MIN: Final = 1_024
"""A shorter body is sent as it is: it fits into one packet anyway."""

LEVEL: Final = 1
"""A third of the time of the usual level for a tenth more bytes: the event loop waits meanwhile."""

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
"""What zlib calls a gzip header and trailer."""

_VARY: Final = ("Vary", "Accept-Encoding")
_GZIP: Final = ("Content-Encoding", "gzip")
_REFUSED: Final = re.compile(r"0(\.0{0,3})?")


def takes_gzip(accept_encoding: str) -> bool:
    """Whether a client that sent this header field takes ``gzip``: named, or by ``*``, and not with a weight of 0."""
    weights: dict[str, str] = {}
    for item in accept_encoding.lower().split(","):
        name, _, parameters = item.partition(";")
        label, _, weight = parameters.partition("=")
        weights[name.strip()] = weight.strip() if label.strip() == "q" else "1"
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", "0")))
    return _REFUSED.fullmatch(weight) is None


def compressed(answer: Answer, accept_encoding: str) -> Answer:
    """Return ``answer`` as its client takes it, with the header that tells caches what it depends on."""
    headers = (*answer.headers, _VARY)
    if not takes_gzip(accept_encoding):
        return msgspec.structs.replace(answer, headers=headers)
    if answer.chunks is not None:
        return msgspec.structs.replace(answer, headers=(*headers, _GZIP), chunks=_piecewise(answer.chunks))
    if len(answer.body) < COMPRESSED_BYTES_MIN:
        return msgspec.structs.replace(answer, headers=headers)
    packer = zlib.compressobj(LEVEL, wbits=_GZIP_BITS)
    body = packer.compress(answer.body) + packer.flush()
    return msgspec.structs.replace(answer, headers=(*headers, _GZIP), body=body)


async def _piecewise(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield each chunk compressed and whole, so that a client can read it before the next one is made."""
    packer = zlib.compressobj(LEVEL, wbits=_GZIP_BITS)
    try:
        async for chunk in chunks:
            yield packer.compress(chunk) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield packer.flush()
    finally:
        await chunks.aclose()
