"""Histories for replays: made by the real services from a seed, with everything in them that a log can tell of.

``live`` draws one operation after the other; what a service refuses leaves no record and is no matter here.
"""

from collections.abc import Callable, Container, Iterator
from itertools import islice
from random import Random
from typing import Any, Final

import msgspec
import orjson

from sidecar.core.budget import OnExceeded, OnExpiry
from sidecar.core.errors import Conflict, IdempotencyConflict, NotFound, ValidationFailed
from sidecar.core.log_entries import text_of
from sidecar.core.model import AuthorizeRequest, Json
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.core.windows import Period
from sidecar.service.budget_changes import BudgetPatch
from sidecar.service.card_drafts import CardDraft
from sidecar.service.chronicle import Chronicle
from sidecar.service.courses import Candidate
from sidecar.service.identities import IdentityPatch
from sidecar.service.kill_switch import KillSwitch
from sidecar.service.proof import Proof, Prover
from sidecar.service.replay import Comparison, Span, against_candidate, compare
from sidecar.service.treasury import CardDesk
from sidecar.state.chronicle import StoredChronicle, chronicles
from tests.service.bank import FAILED, PENDING, SUCCESS, FakeRail, Till, paying
from tests.service.builders import DAY, HOUR, OPERATOR, SECOND, World, key_for, limit, payment, shipped_files, tool_call
from tests.service.terminal import Terminal, capture, refund, standing

AGENTS: Final = ("ann", "bob", "cat")
PERIODS: Final[tuple[Period, ...]] = ("per_transaction", "hourly", "daily", "rolling_24h", "total")
ACTIONS_OVER: Final[tuple[OnExceeded, ...]] = ("deny", "deny", "suspend", "notify", "track")
ON_EXPIRY: Final[tuple[OnExpiry, ...]] = ("release", "settle")
REFUSALS: Final = (Conflict, IdempotencyConflict, NotFound, ValidationFailed)

HOURS: Final = """
@id("night/no-payments")
forbid (principal, action == Action::"card.authorize", resource)
when { context.hour < 6 };
"""
FAULTY: Final = """
@id("faulty/overflow")
permit (principal, action == Action::"card.authorize", resource)
when { context.amount * 9223372036854775807 > 0 };
"""
NAMES: Final = """
@id("names/not-below-bob")
forbid (principal, action == Action::"tool.call", resource)
when { principal in Agent::"bob" };
"""


def chronicle(world: World, tenant_id: str = "t_one", size: int | None = None) -> StoredChronicle:
    """The history of a tenant of ``world``."""
    return chronicles(world.environment, tenant_id, size)[0]


def variants() -> Iterator[PolicyFiles]:
    """Policy files that follow one another: others, a tenant's own folder, none at all, and a longer schema."""
    shipped = shipped_files()
    yield shipped
    yield PolicyFiles(schemas=shipped.schemas, shared=(SourceFile("policies/night.cedar", HOURS),), by_tenant={})
    own: dict[str, tuple[SourceFile, ...]] = {
        "t_one": (SourceFile("policies/t_one/own.cedar", NAMES),),
        "t_other": (SourceFile("p/t_other/o", HOURS),),
    }
    yield PolicyFiles(schemas=shipped.schemas, shared=shipped.shared, by_tenant=own)
    yield PolicyFiles(schemas=shipped.schemas, shared=(SourceFile("policies/faulty.cedar", FAULTY),), by_tenant={})
    (first, *rest) = shipped.schemas
    longer = SourceFile(first.path, first.text + "\n// longer\nentity Gadget;\n")
    yield PolicyFiles(schemas=(longer, *rest), shared=shipped.shared, by_tenant={})


class Life:
    """A tenant that something happens to."""

    def __init__(self, world: World, seed: int) -> None:
        """Found it."""
        self.world = world
        self.random = Random(seed)
        self.desk = CardDesk(world.store, world.treasurer, world.ids)
        self.switch = KillSwitch(world.store)
        world.tenant(time_zone=self.random.choice(("UTC", "America/Toronto", "Asia/Kathmandu")))
        for agent in AGENTS:
            world.identity(agent, self.random.choice(("root", "ann")) if agent != "ann" else "root")
        self.files = list(variants())
        self.decisions: list[str] = []
        self.budgets: list[str] = []
        self.cards: list[str] = []
        self.policies: list[str] = []
        self.asked: list[AuthorizeRequest] = []
        self.till = Till(world, {"solana": FakeRail(*self.random.choices((SUCCESS, FAILED, PENDING), k=20), SUCCESS)})
        networks = ("internal", "solana")
        self.accounts = [self.till.account(agent, "90", "CAD", network) for agent in AGENTS for network in networks]
        self.terminal = Terminal(world, founded=True)
        for agent in AGENTS:
            self.terminal.card(f"ic_{agent}", agent)
        self.draw()

    def draw(self) -> None:
        """Make a budget, so that there is one."""
        self.make_budget()

    def live(self, steps: int) -> None:
        """Let so many things happen."""
        ask, end = self.ask, self.end
        rare: tuple[Callable[[], object], ...] = (
            self.ask_again,
            self.ask_many,
            self.make_budget,
            self.change_budget,
            self.change_identity,
            self.change_identity,
            self.change_card,
            self.change_policy,
            self.change_files,
            self.jump,
            self.kill,
            self.change_account,
        )
        for _ in range(steps):
            self.world.now_us += self.random.choice((1, 1, SECOND, SECOND, 40 * SECOND, HOUR, 5 * HOUR))
            chosen = self.random.choice(
                (ask, ask, ask, end, end, self.pay, self.swipe, self.hear, self.random.choice(rare))
            )
            try:
                chosen()
            except REFUSALS:
                continue

    def request(self) -> AuthorizeRequest:
        """Something to ask for."""
        agent = self.random.choice((*AGENTS, "root"))
        if self.random.random() < 0.2:
            return tool_call(agent, tool=self.random.choice(("search", "shell")), quantities={"tokens": 5})
        made = payment(
            self.random.randrange(1, 60) * 100,
            agent,
            currency=self.random.choice(("CAD", "CAD", "CAD", "EUR")),
            quantities=self.random.choice(({}, {"tokens": self.random.randrange(9)})),
            ttl_seconds=self.random.choice((60, 3_600, 604_800)),
        )
        card = self.random.choice((None, None, *self.cards[-2:]))
        return msgspec.structs.replace(made, card_id=card, merchant_category=self.random.choice((None, "5734", "7995")))

    def swipe(self) -> None:
        """Let a card's network ask, for one of a few authorizations."""
        agent, number = self.random.choice(AGENTS), self.random.randrange(4)
        swipe = self.terminal.swipe(
            self.random.randrange(0, 30) * 100,
            self.random.randrange(3),
            event_id=f"evt_ask_{self.random.randrange(60)}",
            authorization_id=f"i_{agent}_{number}",
            card=f"ic_{agent}",
        )
        self._note(self.terminal.ask(swipe).decision.decision_id)

    def hear(self) -> None:
        """Let a card's network tell something of one of a few authorizations."""
        agent, number, chance = self.random.choice(AGENTS), self.random.randrange(4), self.random.random
        if chance() < 0.1:
            self.world.now_us += 31 * DAY  # what is on hold by then ends by time
        amount_minor = self.random.randrange(0, 30) * 100
        moved = self.random.choice((capture, capture, refund))(amount_minor, f"m{self.random.randrange(90)}")
        figures = self.random.choice(((amount_minor, None), (None, amount_minor)))
        say = standing(self.random.randrange(4), self.random.randrange(50), *figures, over=chance() < 0.2)
        self.terminal.tells(
            *((moved,) if chance() < 0.7 else ()),
            say=say if chance() < 0.5 else None,
            card=self.random.choice((f"ic_{agent}",) * 5 + ("ic_nobody", None)),
            authorization_id=f"i_{agent}_{number}",
            currency=self.random.choice(("CAD", "CAD", "CAD", "EUR")),
        )

    def ask(self) -> None:
        """Ask, perhaps with a key."""
        request = self.request()
        key = key_for(request, str(len(self.asked))) if self.random.random() < 0.3 else None
        if key is not None:
            self.asked.append(request)
        self._note(self.world.authorize(request, key).decision.decision_id)

    def ask_again(self) -> None:
        """Use a key a second time."""
        if self.asked:
            number = self.random.randrange(len(self.asked))
            self._note(
                self.world.authorize(self.asked[number], key_for(self.asked[number], str(number))).decision.decision_id
            )

    def ask_many(self) -> None:
        """Ask for several things as one."""
        batch = self.world.batch(
            *(self.request() for _ in range(3)),
            semantics=self.random.choice(("execute_all", "deny_on_first_deny", "permit_on_first_permit")),
        )
        for answered in batch.answers:
            self._note(answered.decision.decision_id)

    def _note(self, decision_id: str | None) -> None:
        if decision_id is not None:
            self.decisions.append(decision_id)

    def end(self) -> None:
        """Settle, release, refund or expire."""
        if not self.decisions:
            return
        decision_id = self.random.choice(self.decisions[-12:])
        match self.random.randrange(6):
            case 0:
                self.world.settle(decision_id)
            case 1:
                self.world.settle(decision_id, f"{self.random.randrange(1, 9)}.00", final=self.random.random() < 0.5)
            case 2:
                self.world.release(decision_id)
            case 3:
                self.world.refund(decision_id, "1.00")
            case 4:
                self.world.settle(decision_id, None, {"tokens": 1}, final=self.random.random() < 0.5)
            case _:
                self.world.expire()

    def make_budget(self) -> None:
        """Limit somebody."""
        draft = limit(
            self.random.randrange(5, 80),
            self.random.choice((*AGENTS, "root")),
            period=self.random.choice(PERIODS),
            dimension=self.random.choice(("amount", "amount", "amount", "count", "tokens")),
            on_exceeded=self.random.choice(ACTIONS_OVER),
            on_expiry=self.random.choice(ON_EXPIRY),
            actions=self.random.choice(((), (), ("card.authorize",))),
        )
        self.budgets.append(self.world.budget(draft).budget.budget_id)

    def change_budget(self) -> None:
        """Change or delete a limit."""
        chosen = self.random.choice(self.budgets)
        if self.random.random() < 0.4:
            self.world.run(self.world.treasurer.delete(OPERATOR, "t_one", chosen, self.world.now_us))
            return
        over = self.random.choice((None, *ACTIONS_OVER))
        patch = BudgetPatch(Major(str(self.random.randrange(1, 300))), None, over, None)
        self.world.run(self.world.treasurer.change(OPERATOR, "t_one", chosen, patch, self.world.now_us))

    def change_identity(self) -> None:
        """Suspend somebody, or let them act again; now and then for good."""
        agent = self.random.choice((*AGENTS, "root"))
        if self.random.random() < 0.05:
            self.world.revoke("cat")
            return
        metadata: tuple[dict[str, Json], ...] = ({}, {"spending": "off"}, {"spend_profile": "standard"})
        patch = IdentityPatch(
            metadata=self.random.choice(metadata),
            status=self.random.choice(("active",) * 7 + ("suspended",)),
        )
        self.world.run(self.world.registry.change(OPERATOR, "t_one", agent, patch, self.world.now_us))

    def change_card(self) -> None:
        """Make a card, or change one."""
        world, now_us = self.world, self.world.now_us
        if not self.cards or self.random.random() < 0.4:
            draft = CardDraft(
                identity_id=self.random.choice(AGENTS),
                currency="CAD",
                spend_limit_daily=Major("50"),
                allowed_mccs=self.random.choice(((), ("5734",))),
            )
            self.cards.append(world.run(self.desk.create(OPERATOR, "t_one", draft, None, now_us)).value.card.card_id)
            return
        change = self.random.choice((self.desk.freeze, self.desk.unfreeze, self.desk.unfreeze, self.desk.close))
        world.run(change(OPERATOR, "t_one", self.random.choice(self.cards), None, now_us))

    def change_account(self) -> None:
        """Open an account, or let something in or out of one."""
        if self.random.random() < 0.4:
            network = self.random.choice(("internal", "internal", "solana"))
            agent = self.random.choice((*AGENTS, "root"))
            self.accounts.append(self.till.account(agent, asset="CAD", network=network))
        change = self.random.choice((self.till.deposit, self.till.deposit, self.till.withdraw))
        change(self.random.choice(self.accounts), str(self.random.randrange(1, 90)))

    def pay(self) -> None:
        """Pay somebody, or see what became of a payment on its way."""
        if self.random.random() < 0.2:
            self.world.run(self.till.transits.resume())
            return
        draft = paying(
            self.random.choice(self.accounts),
            self.random.choice((*self.accounts, *AGENTS)),
            str(self.random.randrange(1, 40)),
            currency="CAD",
            identity_id=self.random.choice((None, None, *AGENTS)),
            debug_mode=self.random.random() < 0.1,
            request_id=self.random.choice((None, None, f"request {self.random.randrange(9)}")),
        )
        self._note(self.till.paid(draft).decision_id)

    def kill(self) -> None:
        """Freeze every card below somebody."""
        self.world.run(
            self.switch.kill(OPERATOR, "t_one", self.random.choice((*AGENTS, "root")), None, self.world.now_us)
        )

    def change_policy(self) -> None:
        """Make a policy by the API, or delete one."""
        world = self.world
        if self.policies and self.random.random() < 0.5:
            chosen = self.policies.pop(self.random.randrange(len(self.policies)))
            world.run(world.legislator.delete(OPERATOR, "t_one", chosen, world.now_us))
            return
        agent = self.random.choice(AGENTS)
        match self.random.randrange(3):
            case 0:
                rules = Rules(actions=("card.authorize",), max_amount=Major("30"), currencies=("CAD",))
                made = world.grant(rules=rules, identity_id=agent)
            case 1:
                made = world.cedar("permit (principal in ?principal, action, resource);", agent)
            case _:
                text = f'@id("t/{world.ids.made}") forbid (principal, action == Action::"tool.call", resource)'
                made = world.cedar(f'{text} when {{ resource == Tool::"search" }};')
        self.policies.append(made)

    def change_files(self) -> None:
        """Replace the policy files."""
        self.world.load(self.random.choice(self.files))

    def jump(self) -> None:
        """Let the clock jump."""
        now_us = self.world.now_us
        self.world.write(lambda txn: txn.keep_clock_event(now_us, now_us + DAY))


class Doctored:
    """A history with other bytes in places, or without some facts: what a disk, or somebody at it, makes of it."""

    def __init__(
        self,
        chronicle: Chronicle,
        *,
        edit: Callable[[dict[str, Any]], object] | None = None,
        erased: Container[str] = (),
        changed: dict[str, bytes] | None = None,
        cut: int | None = None,
    ) -> None:
        """Let ``edit`` change each record, take away facts by their addresses or put others in their place.

        Records from ``cut`` on are gone.
        """
        self._chronicle = chronicle
        self._edit = edit
        self._erased = erased
        self._changed = changed or {}
        self._cut = cut
        self.tenant_id = chronicle.tenant_id
        self.origin = chronicle.origin
        self.size = chronicle.size
        self.link = chronicle.link

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records as they are now."""
        for seq, body in islice(self._chronicle.entries(), self._cut):
            record = orjson.loads(body)
            if self._edit is not None:
                self._edit(record)
            yield seq, orjson.dumps(record, option=orjson.OPT_SORT_KEYS)

    def fact(self, digest: bytes, seq: int) -> bytes | None:
        """Return a fact as it is now."""
        address = text_of(digest)
        if address in self._changed:
            return self._changed[address]
        return None if address in self._erased else self._chronicle.fact(digest, seq)

    def place(self, seq: int) -> str:
        """Return a place."""
        return self._chronicle.place(seq)


def prove(chronicle: Chronicle, *, accept_engine: bool = False) -> Proof:
    """The proof of a history."""
    return Prover(chronicle, lambda _: None, accept_engine=accept_engine).prove()


def retried(chronicle: Chronicle, files: PolicyFiles, span: Span | None = None) -> Comparison:
    """What comes out differently by other files."""
    return compare(chronicle, against_candidate(Candidate(files)), span or Span(), lambda _: None)
