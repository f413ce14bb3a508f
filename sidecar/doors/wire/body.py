"""From the bytes of a body to the request type of a call: at once where that is safe, in two strict steps elsewhere.

``msgspec`` reads bytes straight into a type several times faster than they are decoded and converted, and as strictly
but for one thing: of a key that is given twice it takes the last. So a body is read at once only where ``is_plain``
shows that no key is; whatever is refused then is read again in two steps, whose sentences name the place. Source:
docs/decisions/0004.
"""

from typing import Final, Generic, TypeVar

import msgspec
from starlette.concurrency import run_in_threadpool

from sidecar.core.money import NumberText
from sidecar.doors.wire import strict_json, typed

T = TypeVar("T")

APART_BYTES: Final = 256 * 1024
"""A longer body, some 10 ms of reading, is read in a thread, so that no decision waits for it."""

EMPTY: Final[dict[str, object]] = {}


class BodyReader(Generic[T]):
    """Reads the bodies of one call."""

    def __init__(self, request: type[T]) -> None:
        """Read bodies of the type ``request``."""
        self._request = request
        self._decoder = msgspec.json.Decoder(request, dec_hook=typed.decode_hook, float_hook=NumberText)

    def read(self, body: bytes) -> T:
        """Return ``body`` as a request; nothing at all stands for an empty object.

        Raises InvalidJson, and ValidationFailed with the place of the mistake.
        """
        if strict_json.is_plain(body):
            try:
                return self._decoder.decode(body)
            except (msgspec.MsgspecError, ValueError):
                pass  # said below, in words that are the same for every body
        return typed.convert(document_of(body), self._request)

    async def read_beside(self, body: bytes) -> T:
        """Return ``body`` as ``read`` does, without keeping others waiting for a long one."""
        return self.read(body) if len(body) <= APART_BYTES else await run_in_threadpool(self.read, body)


def document_of(body: bytes) -> object:
    """Return the value in ``body``; nothing at all stands for an empty object. Raises InvalidJson."""
    return strict_json.decode(body) if body else EMPTY
