"""A batch of a follower's audit records as values: whether they are a part of one log, and what has to be done by them.

Each record is checked as ``sidecar.core.verification`` checks a log that lies in a store. Whether the part fits what is
there already is for whoever stores it: ``previous`` and ``first_us`` say what the record in front must be.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import cast

import msgspec

from sidecar.core.errors import ValidationFailed
from sidecar.core.history import ENDINGS, Ended, read_event
from sidecar.core.log_entries import Fields, digest_of, link
from sidecar.core.verification import Fault, Verifier, referenced_facts


class Named(msgspec.Struct, frozen=True):
    """A fact, with the record that alone refers to it, or None where many records may."""

    content: bytes
    seq: int | None


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Records that follow each other, from ``from_seq`` on; ``endings`` are those that tell what became of holds.

    ``previous`` is the link of the record in front of them, ``link`` that of their last one, and ``last_us`` its time.
    """

    from_seq: int
    bodies: tuple[bytes, ...]
    previous: bytes
    first_us: int
    link: bytes
    last_us: int
    endings: tuple[Ended, ...]
    facts: tuple[Named, ...]

    @property
    def to_seq(self) -> int:
        """The place behind the last record."""
        return self.from_seq + len(self.bodies)


def read_part(
    origin: str, tenant_id: str, from_seq: int, bodies: Sequence[bytes], facts: Sequence[bytes]
) -> Part | Fault:
    """Return what was shipped as a part of the log ``origin``, or the first record that can be none of it.

    There is at least one record. Raises ValidationFailed for a fact that no record names.
    """
    verifier = Verifier(origin, tenant_id, start=from_seq)
    contents = {sha256(content).digest(): content for content in facts}
    named: dict[tuple[bytes, int | None], None] = {}
    times: list[int] = []
    endings: list[Ended] = []
    previous = b""
    for seq, body in enumerate(bodies, from_seq):
        fault = verifier.feed(seq, body)
        if fault is not None:
            return fault
        fields = verifier.fields
        if not fields:  # what comes next tells which of two records was changed
            continue
        previous = previous or digest_of(fields["prev"]) or b""
        times.append(cast("int", fields["ts"]))
        try:
            named |= dict.fromkeys((digest, place) for digest, place in _named_in(seq, fields) if digest in contents)
            if fields["type"] in ENDINGS:
                event = read_event(body)
                endings += [event] if isinstance(event, Ended) else []
        except ValidationFailed as error:
            return Fault(seq, error.message)
    fault = verifier.end()
    if fault is not None:
        return fault
    if len({digest for digest, _ in named}) != len(contents):
        raise ValidationFailed("a fact is named by no record of the batch", field="facts")
    return Part(
        from_seq=from_seq,
        bodies=tuple(bodies),
        previous=previous,
        first_us=times[0],
        link=link(bodies[-1]),
        last_us=times[-1],
        endings=tuple(endings),
        facts=tuple(Named(contents[digest], place) for digest, place in named),
    )


def own_facts(seq: int, fields: Fields) -> tuple[tuple[bytes, int | None], ...]:
    """Return the facts behind record ``seq`` that only the store has in which it was written, as address and place.

    Those are requests, lists of policies, and lists of what was followed; all else came from the control plane. Raises
    ValidationFailed for an address that is none.
    """
    own = {"request", "policies", "changes"}
    return tuple((digest, place) for digest, place, kind in _addresses(seq, fields) if kind in own)


def _named_in(seq: int, fields: Fields) -> Iterator[tuple[bytes, int | None]]:
    for digest, place, _ in _addresses(seq, fields):
        yield digest, place


def _addresses(seq: int, fields: Fields) -> Iterator[tuple[bytes, int | None, str]]:
    """Yield address, place and field of each fact that a record names."""
    for ref in referenced_facts(fields):
        yield ref.digest, seq if ref.kind == "request" else None, ref.kind
