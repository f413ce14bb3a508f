"""The steps of a decision, by the functions that take them: each is timed from outside while requests go by.

A step's time is its own: what a step inside it takes counts for that one. So the steps of one decision add up, and what
is left of the whole request is routing, tasks of the event loop, and everything else that no step names.
"""

import importlib
import inspect
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

NANO_PER_MICRO: Final = 1_000
WHOLE: Final = "the whole request"
CPU: Final = "of that, processor time"
REST: Final = "everything else: routing, headers, tasks of the event loop"

STEPS: Final[Mapping[str, tuple[str, ...]]] = {
    "read the body: JSON into typed fields": (
        "sidecar.doors.wire.strict_json:decode",
        "sidecar.doors.wire.typed:convert",
        "sidecar.doors.wire.body:BodyReader.read",
    ),
    "the request in the core's terms": ("sidecar.doors.native.drafts:authorize",),
    "authenticate the token": ("sidecar.service.tokens:TokenDesk.authenticate",),
    "rate limits": ("sidecar.service.rates:Limiter.admit",),
    "view: chain, budgets and policies of the asker": ("sidecar.service.snapshots:Snapshots.current",),
    "rule: question, slice, reasons": ("sidecar.service.authorize:rule",),
    "Cedar": ("cedarpy._internal:is_authorized_batch",),
    "claims: read the counters of the budgets": ("sidecar.service.judgement:consult",),
    "reserve: counters and reservation": ("sidecar.service.authorize:book_permit",),
    "facts behind the record": ("sidecar.service.authorize:keep_facts",),
    "body of the record": ("sidecar.service.authorize:decision_body",),
    "seal and append the record": ("sidecar.state.audit_log:AuditLog.append",),
    "keep the answer": ("sidecar.state.answers:Answers.keep_decision",),
    "the rest of the transaction": ("sidecar.service.authorize:Authorizer._decide",),
    "begin and commit the batch, with its fsync": ("sidecar.state.committer:Committer._run",),
    "answer as a document": ("sidecar.doors.native.render:decision",),
    "document as JSON": ("sidecar.doors.native.decisions:json_answer",),
    "count the answer": ("sidecar.doors.wire.endpoint:Endpoint._count",),
}
"""Step -> where it is taken, as ``module:name`` or ``module:Class.name``; where there are several, one may be gone."""


class NoSuchStepError(Exception):
    """None of the functions that take a step is there any more."""


class Clock(threading.local):
    """Per thread: nanoseconds that the steps inside the running one have taken so far."""

    inside = 0


class Stages(msgspec.Struct):
    """Nanoseconds of each time that a step was taken since the last ``reset``."""

    nanoseconds: dict[str, list[int]] = msgspec.field(default_factory=lambda: {name: [] for name in STEPS})

    def reset(self) -> None:
        """Forget what was measured."""
        for taken in self.nanoseconds.values():
            taken.clear()

    def microseconds(self, requests: int) -> dict[str, float]:
        """Return what each step took of one of so many requests: the median, which no interruption moves."""
        return {
            name: statistics.median(taken) * len(taken) / requests / NANO_PER_MICRO
            for name, taken in self.nanoseconds.items()
            if taken
        }


@contextmanager
def watched() -> Iterator[Stages]:
    """Time the steps of this process while the context is open; raises NoSuchStepError.

    A server must be composed inside it: parts that it has tied together keep the functions of then.
    """
    stages, clock = Stages(), Clock()
    undone: list[tuple[object, str, object]] = []
    try:
        for name, places in STEPS.items():
            found = [place for place in map(find, places) if place is not None]
            if not found:
                raise NoSuchStepError(
                    f"`{name}` is taken by none of {', '.join(places)}: bench/stages.py is out of date"
                )
            for owner, attribute in found:
                undone.append((owner, attribute, getattr(owner, attribute)))
                setattr(owner, attribute, _timed(getattr(owner, attribute), name, stages, clock))
        yield stages
    finally:
        for owner, attribute, function in undone:
            setattr(owner, attribute, function)


def find(place: str) -> tuple[object, str] | None:
    """Return the owner of a function and its name there, None where there is none."""
    module, _, path = place.partition(":")
    *owners, name = path.split(".")
    try:
        owner: object = importlib.import_module(module)
        for each in owners:
            owner = getattr(owner, each)
    except (ImportError, AttributeError):
        return None
    return (owner, name) if hasattr(owner, name) else None


def _timed(function: Callable[..., Any], name: str, stages: Stages, clock: Clock) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):
        raise NoSuchStepError(f"`{name}` waits, so its time is not its own: name what it calls")

    def timed(*args: object, **options: object) -> object:
        before, clock.inside = clock.inside, 0
        began = time.perf_counter_ns()
        try:
            return function(*args, **options)
        finally:
            taken = time.perf_counter_ns() - began
            stages.nanoseconds[name].append(taken - clock.inside)
            clock.inside = before + taken

    return timed
