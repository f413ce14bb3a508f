"""Calls of followers: what changed since a revision, and all that there is.

What is written is decided by ``core.feed`` and ``core.feed_snapshot``, by which followers read it.
"""

import re
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.feed import Page, mark_of_text, write_page
from sidecar.core.model import AuditMark
from sidecar.doors.native.feed_answers import FeedPage
from sidecar.doors.wire.compression import compressed
from sidecar.doors.wire.endpoint import Ask, Call
from sidecar.doors.wire.http import Answer
from sidecar.doors.wire.query import integer
from sidecar.service.feed import Asked, Publisher
from sidecar.service.feed_snapshot import Begun, SnapshotTeller

WAIT_SECONDS_MAX: Final = 30
"""How long a call may wait for a change: shorter than what proxies bear with."""

NDJSON: Final = "application/x-ndjson"

_CHECK_BYTES: Final = 4
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST_SHOWN: Final = 16
_begun: Final = msgspec.msgpack.Decoder(Begun)


class FeedCalls:
    """The calls, over the services that do them."""

    def __init__(self, publisher: Publisher, teller: SnapshotTeller, clock: Callable[[], int]) -> None:
        """Translate for these services; ``clock`` is read again after a wait."""
        self._publisher = publisher
        self._teller = teller
        self._clock = clock

    def calls(self) -> Iterable[Call]:
        """Return the documented calls."""
        yield Call(
            method="GET",
            path="/v1/changes",
            run=self.get_changes,
            query=frozenset({"since", "files", "wait", "mark"}),
            is_long=True,
            answer=FeedPage,
            further={304: None},
            tag="feed",
        )
        yield Call(
            method="GET",
            path="/v1/snapshot",
            run=self.get_snapshot,
            query=frozenset({"cursor", "mark"}),
            is_long=True,
            answer=str,
            content_type=NDJSON,
            tag="feed",
        )

    async def get_changes(self, ask: Ask) -> Answer:
        """Tell what changed after a revision, or wait until something does.

        The answer has an `ETag`; with `If-None-Match`, what is the same is answered 304. A revision that is not reached
        here is a 409, and so is a `mark` (of the last page or snapshot that was taken) that the log does not have: this
        server was restored from a backup, or is another one.
        """
        asked = Asked(ask.tenant_id(), integer(ask.query, "since", default=0), _files_digest(ask), _mark(ask))
        wait = integer(ask.query, "wait", default=0)
        if wait > WAIT_SECONDS_MAX:
            raise ValidationFailed(f"a call waits for {WAIT_SECONDS_MAX} s at most", field="wait")
        page = await self._publisher.awaited(ask.caller, asked, wait, self._clock)
        tag = _entity_tag(page)
        headers = (("ETag", tag),)
        if tag in _listed(_header(ask, b"if-none-match")):
            return Answer(304, headers=headers)
        return compressed(Answer(200, write_page(page), headers), _header(ask, b"accept-encoding"))

    async def get_snapshot(self, ask: Ask) -> Answer:
        """Tell all records, one on a line, from the beginning or after a mark.

        Between them are marks, whose `cursor` goes on there when the stream was cut off, and at its end a line that
        says so. What changed meanwhile is told by `GET /v1/changes` since the `revision` of the first line; a cursor
        from before what is kept of the changes is a 409, and so is a `mark` that the log does not have.
        """
        cursor = ask.query.get("cursor")
        begun = None if cursor is None else read_cursor(cursor)
        begun = self._teller.begin(ask.caller, ask.tenant_id(), begun, ask.now_us, _mark(ask))
        chunks = self._teller.lines(ask.caller, begun, write_cursor, self._clock)
        return compressed(Answer(200, content_type=NDJSON, chunks=chunks), _header(ask, b"accept-encoding"))


def _header(ask: Ask, name: bytes) -> str:
    return ask.head.header(name) or ""


def _files_digest(ask: Ask) -> str | None:
    text = ask.query.get("files")
    if text is not None and _DIGEST.fullmatch(text) is None:
        raise ValidationFailed("`files` is a SHA-256 in lower-case hexadecimal", field="files")
    return text


def _mark(ask: Ask) -> AuditMark | None:
    text = ask.query.get("mark")
    return None if text is None else mark_of_text(text)


def _entity_tag(page: Page) -> str:
    """Return what stands for the state that a page leads to."""
    return f'"{page.origin}:{page.to_revision}:{page.files_digest[:_DIGEST_SHOWN]}"'


def _listed(field: str) -> list[str]:
    """Return the entity tags of a header; weak ones count like others (RFC 9110 section 13.1.2)."""
    return [each.strip().removeprefix("W/") for each in field.split(",")]


def write_cursor(begun: Begun) -> str:
    """Return the text that asks for the rest of a snapshot. It opens nothing, so it is no secret."""
    packed = msgspec.msgpack.encode(begun)
    return urlsafe_b64encode(packed + _check(packed)).rstrip(b"=").decode()


def read_cursor(cursor: str) -> Begun:
    """Return how far a snapshot was told. Raises ValidationFailed for what no snapshot gave out."""
    try:
        packed = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        begun = _begun.decode(packed[:-_CHECK_BYTES])
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise _strange() from error
    if write_cursor(begun) != cursor:
        raise _strange()
    return begun


def _check(packed: bytes) -> bytes:
    return zlib.crc32(packed).to_bytes(_CHECK_BYTES)


def _strange() -> ValidationFailed:
    return ValidationFailed("the cursor is not one of this snapshot's", field="cursor")
