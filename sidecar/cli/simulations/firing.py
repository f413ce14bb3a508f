"""Sending what a network says to a running server, and judging whether it answers as the network demands.

Nothing but the one address is spoken to: no proxy of the environment, no redirect. An answer is judged by its form
and by what the protocol fixes: a repeated request has the answer of the first one, an unknown card is declined. Whether
anything else should have been approved is the server's affair.
"""

import random
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec

from sidecar.cli.simulations.courses import Course, play
from sidecar.cli.simulations.lithic_events import LithicAuthorization
from sidecar.cli.simulations.purchase import Authorization, Message, Names, Purchase
from sidecar.cli.simulations.signing import sign
from sidecar.cli.simulations.stripe_events import StripeAuthorization
from sidecar.core.card_events import Network

AUTHORIZATIONS: Final[dict[Network, type[StripeAuthorization] | type[LithicAuthorization]]] = {
    "stripe": StripeAuthorization,
    "lithic": LithicAuthorization,
}

REQUEST_SECONDS_MAX: Final = 2.0
"""How long a network waits for a decision: Stripe's limit, used for both."""

EVENT_SECONDS_MAX: Final = 15.0
"""How long it waits until an event is taken (Standard Webhooks)."""

_OK: Final = 200
_OK_ABOVE: Final = 299


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One message and what came back. ``fault`` says what the network would have complained about, if anything.

    ``purchase`` counts from 1. ``said`` is the answer, or what went wrong, as text. ``approved`` is None for an event.
    """

    purchase: int
    course: str
    authorization_id: str
    message: Message
    is_repeated: bool
    sent_at_us: int
    latency_ms: float
    status: int | None
    approved: bool | None
    said: str
    fault: str | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is fired: a purchase for each of ``courses``; ``shuffles`` tells all events at the end, in any order.

    ``duplicates``: every message is sent twice.
    """

    network: Network
    purchase: Purchase
    courses: tuple[Course, ...]
    shuffles: bool = False
    duplicates: bool = False


class _Waiting(msgspec.Struct, frozen=True):
    number: int
    course: Course
    authorization_id: str
    message: Message
    is_repeated: bool = False


class Terminal:
    """One network that talks to one server."""

    def __init__(self, client: httpx.Client, network: Network, address: str, secret: str) -> None:
        """Speak over ``client`` to ``address``, signing with ``secret``."""
        self._client = client
        self._network = network
        self._address = address
        self._secret = secret

    def fire(self, plan: Plan, chance: random.Random) -> Iterator[Exchange]:
        """Yield each exchange as it happens; ids, merchants' whims and order come from ``chance``."""
        names, later = Names(chance), []
        for number, course in enumerate(plan.courses, 1):
            card = f"{plan.purchase.card}-unknown" if course.is_unknown else plan.purchase.card
            purchase = msgspec.structs.replace(plan.purchase, card=card)
            authorization = AUTHORIZATIONS[plan.network](purchase, names, _now_us)
            for each in self._play(number, course, authorization, plan):
                if isinstance(each, Exchange):
                    yield each
                else:
                    later.append(each)
        if plan.duplicates:
            later += [msgspec.structs.replace(each, is_repeated=True) for each in later]
        chance.shuffle(later)
        told: set[str] = set()
        for each in later:
            is_repeated = each.message.event_id in told
            told.add(each.message.event_id)
            yield self._send(msgspec.structs.replace(each, is_repeated=is_repeated))

    def _play(
        self, number: int, course: Course, authorization: Authorization, plan: Plan
    ) -> Iterator["Exchange | _Waiting"]:
        """Yield what was exchanged, and what waits for the end of the plan."""
        playing = play(course, authorization, plan.purchase.amount_minor)
        message = next(playing, None)
        while message is not None:
            waiting = _Waiting(number, course, authorization.id, message)
            approved = False
            if plan.shuffles and not message.is_request:
                yield waiting
            else:
                first = self._send(waiting)
                yield first
                approved = first.approved is True
                if plan.duplicates:
                    yield _same(first, self._send(msgspec.structs.replace(waiting, is_repeated=True)))
            try:
                message = playing.send(approved)
            except StopIteration:
                message = None

    def _send(self, waiting: _Waiting) -> Exchange:
        message, sent_at_us = waiting.message, _now_us()
        headers = sign(self._network, self._secret, message, sent_at_us // 1_000_000)
        limit = REQUEST_SECONDS_MAX if message.is_request else EVENT_SECONDS_MAX
        began = time.perf_counter()
        status, verdict = None, _Verdict(None, "", None)
        try:
            response = self._client.post(self._address, content=message.body, headers=headers, timeout=limit)
        except httpx.TimeoutException:
            verdict = _Verdict(None, "", f"no answer within {limit:g} s")
        except httpx.HTTPError as error:
            verdict = _Verdict(None, "", f"no answer: {error}")
        else:
            status = response.status_code
            verdict = judge(self._network, message, response)
        if waiting.course.is_unknown and verdict.approved:
            verdict = msgspec.structs.replace(verdict, fault="approved a card that it cannot know")
        return Exchange(
            purchase=waiting.number,
            course=waiting.course.name,
            authorization_id=waiting.authorization_id,
            message=message,
            is_repeated=waiting.is_repeated,
            sent_at_us=sent_at_us,
            latency_ms=(time.perf_counter() - began) * 1_000,
            status=status,
            approved=verdict.approved,
            said=verdict.said,
            fault=verdict.fault,
        )


class _Verdict(msgspec.Struct, frozen=True):
    approved: bool | None
    said: str
    fault: str | None


def judge(network: Network, message: Message, response: httpx.Response) -> _Verdict:
    """Return what an answer means to the network, and what it would complain about."""
    said = response.text.strip()
    if not message.is_request:
        is_taken = _OK <= response.status_code <= _OK_ABOVE
        return _Verdict(None, said, None if is_taken else f"status {response.status_code}, expected 2xx")
    if response.status_code != _OK:
        return _Verdict(None, said, f"status {response.status_code}, expected 200")
    try:
        answer = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        return _Verdict(None, said, "the answer is no JSON")
    if not isinstance(answer, dict):
        return _Verdict(None, said, "the answer is no JSON object")
    if network == "stripe":
        return _Verdict(answer.get("approved") is True, said, _fault_for_stripe(response, answer))
    return _Verdict(answer.get("result") == "APPROVED", said, _fault_for_lithic(message, answer))


def _fault_for_stripe(response: httpx.Response, answer: dict[str, Any]) -> str | None:
    if "stripe-version" not in response.headers:
        return "the header `Stripe-Version` is missing"
    if not isinstance(answer.get("approved"), bool):
        return "`approved` is neither true nor false"
    metadata = answer.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        return "`metadata` is no object of texts"
    return None


def _fault_for_lithic(message: Message, answer: dict[str, Any]) -> str | None:
    if answer.get("token") != msgspec.json.decode(message.body)["token"]:
        return "`token` is not the one of the request"
    return None if isinstance(answer.get("result"), str) else "`result` is missing"


def _same(first: Exchange, again: Exchange) -> Exchange:
    """Complain about a repeated request that was answered otherwise."""
    if again.fault is None and again.approved != first.approved:
        return msgspec.structs.replace(again, fault="the repeated request was answered otherwise")
    return again


def _now_us() -> int:
    return time.time_ns() // 1_000
