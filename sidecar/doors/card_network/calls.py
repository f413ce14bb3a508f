"""The calls of card networks: one path for all messages of a network, and one for those of a single program.

A message is nobody's until a program's secret has signed its bytes (``signatures``); nothing in it is read before. A
request is then always answered as its network expects: whatever goes wrong declines, as a network can be set up to
approve where it gets no answer. Other messages get an error where they could not be taken in, so that their network
tells them again.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from sidecar.core.card_events import Swipe
from sidecar.core.card_programs import open_secrets, signing_key
from sidecar.core.errors import NotFound, SidecarError, StoreUnusable, Unauthenticated
from sidecar.doors.card_network.manner import MANNER
from sidecar.doors.card_network.signatures import Signed
from sidecar.doors.card_network.words import Message, Words, is_telling
from sidecar.doors.wire import strict_json
from sidecar.doors.wire.endpoint import Ask, Call, json_answer
from sidecar.doors.wire.http import Answer, Header, Incoming
from sidecar.service.card_network import Asked, CardNetwork
from sidecar.service.card_programs import Heard, ProgramDesk

log: Final = structlog.get_logger("sidecar.card_network")

PREFIX: Final = "/card-network"
"""The path below which everything is a card network's."""

BODY_BYTES_MAX: Final = 256 * 1024
"""Many times what networks send: a transaction with all events of a long life."""

APART_BYTES: Final = 32 * 1024
"""A longer body is checked in a thread, one after the other: nobody knows yet who sent it.

Threads share the interpreter, so several at once would keep swipes waiting; no request is that long.
"""

ANSWER_SECONDS_MAX: Final = 1.5
"""Networks wait 2 s and longer; a decision that takes more than this is a decline."""

UNKNOWN_CARD: Final = "unknown_card"
TOO_LATE: Final = "too_late"


class CardNetworkCalls:
    """The calls of one network, over the services that know its programs and decide."""

    def __init__(
        self, words: Words, desk: ProgramDesk, cards: CardNetwork, answer_seconds_max: float = ANSWER_SECONDS_MAX
    ) -> None:
        """Translate ``words`` for ``cards``."""
        self._words = words
        self._desk = desk
        self._cards = cards
        self._answer_seconds_max = answer_seconds_max
        self._late: set[asyncio.Task[Asked]] = set()
        self._apart = asyncio.Semaphore(1)

    def calls(self) -> Iterable[Call]:
        """Return the calls, which no description has: they are the network's."""
        path = f"{PREFIX}/{self._words.network}"
        yield Call(
            method="POST",
            path=path,
            aliases=(f"{path}/{{program_id}}",),
            run=self.hear,
            is_open=True,
            is_raw=True,
            is_decision=True,
            body_bytes_max=BODY_BYTES_MAX,
            is_documented=False,
            manner=MANNER,
        )

    async def hear(self, ask: Ask) -> Answer:
        """Answer one message. Raises Unauthenticated where no program has signed it."""
        head = ask.head
        heard = await self._sender(ask, head)
        try:
            message = self._words.message(strict_json.decode(ask.raw), head)
        except SidecarError as error:
            if is_telling(self._words, ask.raw):
                raise  # with a decline, which is a 200, its network would never tell it again
            # It may have been a request, and then no answer but a decline would be closed.
            return self._declined(None, error)
        if message.is_request:
            return await self._decide(heard, message, ask.now_us)
        told = await self._cards.tell(heard.tenant_id, heard.program, self._words.event(message), ask.now_us)
        return json_answer({"received": True, "outcome": told})

    async def _sender(self, ask: Ask, head: Incoming) -> Heard:
        """Return the program that has signed a message. Raises Unauthenticated."""
        signed = self._words.signed(head, ask.now_us)
        programs = self._desk.hear(self._words.network, ask.path.get("program_id"))
        if len(ask.raw) > APART_BYTES:
            async with self._apart:
                return await run_in_threadpool(_signer, programs, signed, ask.raw, ask.now_us)
        return _signer(programs, signed, ask.raw, ask.now_us)

    async def _decide(self, heard: Heard, message: Message, now_us: int) -> Answer:
        """Answer a request. Raises nothing: each fault is a decline."""
        try:
            return self._decided(message, await self._in_time(heard, self._words.swipe(message), now_us))
        except TimeoutError:
            sentence = f"the decision took longer than {self._answer_seconds_max} s"
            log.warning("card_request_late", network=self._words.network, event_id=message.event_id)
            return self._refusal(message, TOO_LATE, sentence, None)
        except SidecarError as error:
            return self._declined(message, error)
        except Exception:
            log.exception("card_request_failed", network=self._words.network, event_id=message.event_id)
            return self._declined(message, SidecarError("the request failed inside the sidecar"))

    def _decided(self, message: Message, asked: Asked) -> Answer:
        """Return the answer to a request that was decided."""
        if asked.decision.allowed:
            body, headers = self._words.approval(message, asked)
            return json_answer(body, headers=(*headers, *_named(asked.decision.decision_id, None)))
        reason = asked.decision.reasons[0]
        return self._refusal(message, reason.code, reason.message, asked.decision.decision_id)

    async def _in_time(self, heard: Heard, swipe: Swipe, now_us: int) -> Asked:
        """Return the decision on ``swipe``. Raises TimeoutError where the network would not wait for it.

        The decision goes on then, and what it may reserve stays until the network says what became of the request:
        its answer was a decline, so nothing will be on hold.
        """
        task = asyncio.ensure_future(self._cards.ask(heard.tenant_id, heard.program, swipe, now_us))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._answer_seconds_max)
        except TimeoutError:
            self._late.add(task)
            task.add_done_callback(self._forget)
            raise

    def _forget(self, task: asyncio.Task[Asked]) -> None:
        """Let go of a decision that came too late, once it has come."""
        self._late.discard(task)
        if task.cancelled():  # the server ends: what was not stored is not decided
            return
        error = task.exception()
        if error is None:
            log.info("card_request_decided_late", network=self._words.network)
        else:
            log.error("card_request_failed_late", network=self._words.network, exc_info=error)

    def _declined(self, message: Message | None, error: SidecarError) -> Answer:
        """Return the answer to what could not be decided."""
        reason = error.code
        if isinstance(error, NotFound):
            reason = UNKNOWN_CARD
        elif isinstance(error, StoreUnusable):
            reason = "unavailable"
        log.warning(
            "card_request_refused",
            network=self._words.network,
            event_id=None if message is None else message.event_id,
            reason=reason,
        )
        return self._refusal(message, reason, error.message, None)

    def _refusal(self, message: Message | None, reason: str, sentence: str, decision_id: str | None) -> Answer:
        body, headers = self._words.refusal(message, reason, sentence, decision_id)
        return json_answer(body, headers=(*headers, *_named(decision_id, reason)))


def _named(decision_id: str | None, reason: str | None) -> tuple[Header, ...]:
    """Return the headers that name a decision, for networks whose answers have no place for it."""
    found = (("X-Decision-Id", decision_id), ("X-Decision-Reason", reason))
    return tuple((name, value) for name, value in found if value is not None)


def _signer(programs: tuple[Heard, ...], signed: Signed, body: bytes, now_us: int) -> Heard:
    """Return the program whose secret has signed a message. Raises Unauthenticated where none has."""
    for heard in programs:
        program = heard.program
        for secret in open_secrets(program, now_us):
            if signed.is_by(signing_key(program.network, secret), body):
                return heard
    raise Unauthenticated("the message is not signed by a program that is known here")
