"""The courses that a purchase takes: a table, and the player that makes messages of a row.

Shares are per cent of the amount of the purchase; None is all there is: all that is open for a capture or a reversal,
all that was captured for a refund.
"""

from collections.abc import Generator
from typing import Final, Literal

import msgspec

from sidecar.cli.simulations.purchase import Authorization, Message

Act = Literal["ask", "capture", "capture_last", "refund", "reverse", "expire", "other"]


class Step(msgspec.Struct, frozen=True):
    """One thing that happens, over ``share`` per cent of the amount."""

    act: Act
    share: int | None = None


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """A named row of steps. ``is_unknown``: by a card that nobody knows, which must be declined."""

    name: str
    tells: str
    steps: tuple[Step, ...]
    is_unknown: bool = False


COURSES: Final = (
    Course(name="simple", tells="request, then one capture", steps=(Step("ask", 100), Step("capture_last"))),
    Course(name="tip", tells="capture above the hold", steps=(Step("ask", 100), Step("capture_last", 120))),
    Course(
        name="partial",
        tells="partial reversal, then capture of the rest",
        steps=(Step("ask", 100), Step("reverse", 40), Step("capture_last")),
    ),
    Course(name="void", tells="reversal of everything", steps=(Step("ask", 100), Step("reverse"))),
    Course(
        name="hotel",
        tells="two increments, one capture",
        steps=(Step("ask", 100), Step("ask", 50), Step("ask", 25), Step("capture_last")),
    ),
    Course(
        name="shipments",
        tells="three captures",
        steps=(Step("ask", 100), Step("capture", 30), Step("capture", 30), Step("capture_last")),
    ),
    Course(name="expiry", tells="no capture ever comes", steps=(Step("ask", 100), Step("expire"))),
    Course(
        name="late",
        tells="capture after expiry",
        steps=(Step("ask", 100), Step("expire"), Step("capture_last", 100)),
    ),
    Course(name="forced", tells="capture without authorization", steps=(Step("capture_last", 100),)),
    Course(
        name="refund",
        tells="capture, then two refunds",
        steps=(Step("ask", 100), Step("capture_last"), Step("refund", 40), Step("refund")),
    ),
    Course(
        name="early-refund",
        tells="the refund is told before the capture",
        steps=(Step("ask", 100), Step("refund", 100), Step("capture_last")),
    ),
    Course(
        name="decline",
        tells="a thousand times the amount, which a limit should stop",
        steps=(Step("ask", 100_000), Step("reverse")),
    ),
    Course(
        name="unknown-card", tells="a card that the server does not know", steps=(Step("ask", 100),), is_unknown=True
    ),
    Course(name="other", tells="an event that is about no money", steps=(Step("other"),)),
)


def play(course: Course, authorization: Authorization, amount_minor: int) -> Generator[Message, bool, None]:
    """Yield what the network says, in its order; send it the answer to each request.

    What was declined has no further course: no merchant captures without an approval.
    """
    for step in course.steps:
        if step.act == "ask":
            approved = yield authorization.ask(_share(step.share, amount_minor))
            told = authorization.answer(approved=approved)
        else:
            told = _told(step, authorization, amount_minor)
        for message in told:  # noqa: UP028 - a tuple takes no answers, `yield from` would hand it them
            yield message
        if step.act == "ask" and authorization.open_minor == 0:
            return


def _told(step: Step, authorization: Authorization, amount_minor: int) -> tuple[Message, ...]:
    share = step.share
    match step.act:
        case "capture" | "capture_last":
            taken = authorization.open_minor if share is None else _share(share, amount_minor)
            return authorization.capture(taken, is_last=step.act == "capture_last")
        case "refund":
            return authorization.refund(authorization.captured_minor if share is None else _share(share, amount_minor))
        case "reverse":
            return authorization.reverse(authorization.open_minor if share is None else _share(share, amount_minor))
        case "expire":
            return authorization.expire()
        case _:
            return authorization.other()


def _share(per_cent: int | None, amount_minor: int) -> int:
    """Return a share of an amount, rounded down: a merchant has whole cents too."""
    return amount_minor * (100 if per_cent is None else per_cent) // 100
