"""The answers of calls that can be repeated: the first one and its replays differ in one header and in secrets."""

from collections.abc import Callable
from typing import Final, TypeVar

from sidecar.doors.native import render
from sidecar.doors.native.render import Document
from sidecar.doors.wire.endpoint import REPLAYED, json_answer
from sidecar.doors.wire.http import Answer
from sidecar.service.idempotency import Done
from sidecar.service.identities import Revoked
from sidecar.service.tenants import Founded
from sidecar.service.tokens import Minted

T = TypeVar("T")

MARKED: Final = (REPLAYED,)
"""The headers of a stored answer."""


def done_answer(done: Done[T], shown: Callable[[T], object], status: int = 201) -> Answer:
    """Return what a call did, with the header that says so where it is the stored answer of an earlier one."""
    return json_answer(shown(done.value), status, MARKED if done.replayed else ())


def founded(value: Founded) -> Document:
    """Return a new tenant with its key, which a replay no longer has."""
    return render.tenant(value.tenant) | {"api_key": value.key.text or None}


def minted(value: Minted) -> Document:
    """Return a token with its text, which a replay no longer has."""
    return render.token(value.token, value.tenant_id) | {"token": value.text or None}


def revoked(value: Revoked) -> Document:
    """Return a revoked identity with how many it blocks."""
    return render.identity(value.described) | {"affected": value.affected}
