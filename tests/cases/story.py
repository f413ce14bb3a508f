"""The corpus: each file beside this one is a story, played on every stage and compared with what it says will come out.

A story tells policies, identities, budgets, what happened before, one request, and then decision and audit record. It
names things by ids and names of its own; what a stage answers is translated back. Figures are in major units. A story
without ``now`` does not depend on the time and is played on a live server too.
"""

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from sidecar.core.instants import parse_utc

FOLDER = Path(__file__).parent
ROOT_NAME = "root"

Document: TypeAlias = dict[str, Any]
Figure: TypeAlias = str | int


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a story, in which an unknown key is a mistake."""


class Thing(Note, frozen=True, kw_only=True):
    """What a request is about."""

    type: str = "merchant"
    id: str = "AWS"
    amount: Figure | None = None
    currency: str | None = None
    merchant_category: str | None = None
    quantities: dict[str, int] = {}
    attributes: Document = {}


class Question(Note, frozen=True, kw_only=True):
    """One request to decide; ``key`` is an idempotency key, ``explain`` asks for the nearest that would pass."""

    identity: str
    action: str = "card.authorize"
    resource: Thing
    context: Document = {}
    ttl_seconds: int = 604_800
    card: str | None = None
    key: str | None = None
    explain: bool = False


class Member(Note, frozen=True, kw_only=True):
    """An identity below the root or another one; the id is its name as well."""

    id: str
    parent: str = ROOT_NAME
    type: str = "agent"
    metadata: Document = {}


class Policy(Note, frozen=True, kw_only=True):
    """A policy made by the API."""

    name: str
    of: str | None = None
    rules: Document | None = None
    cedar: str | None = None


class Plastic(Note, frozen=True, kw_only=True):
    """A card; ``name`` is what the story calls it."""

    name: str
    of: str
    currency: str = "CAD"
    mccs: tuple[str, ...] = ()


class Limit(Note, frozen=True, kw_only=True):
    """A budget of an identity or a card; ``name`` is what the story calls it."""

    name: str
    of: str | None = None
    card: str | None = None
    dimension: str = "amount"
    period: str = "daily"
    limit: Figure
    currency: str | None = None
    actions: tuple[str, ...] = ()
    on_exceeded: str = "deny"


class Event(Note, frozen=True, kw_only=True):
    """Something that happened before the request; ``at`` sets the clock first.

    A batch has ``requests`` and what came out, the ``verdicts`` of those that were decided.
    """

    do: Literal[
        "authorize",
        "settle",
        "release",
        "refund",
        "revoke",
        "suspend",
        "resume",
        "limit",
        "drop_policy",
        "freeze",
        "unfreeze",
        "close",
        "kill",
        "batch",
    ]
    at: str | None = None
    request: Question | None = None
    allowed: bool = True
    name: str = ""
    decision: str = ""
    identity: str = ""
    card: str = ""
    budget: str = ""
    policy: str = ""
    amount: Figure | None = None
    limit: Figure = 0
    final: bool = True
    requests: list[Question] = []
    semantics: str = "execute_all"
    verdicts: list[bool] = []


class Expected(Note, frozen=True, kw_only=True):
    """What must come out; of a reason, a budget or the record only the fields that are named are compared."""

    allowed: bool
    reasons: list[Document]
    budgets: list[Document] = []
    reservation: Document | None = None
    nearest: Document | None = None
    record: Document


class Story(Note, frozen=True, kw_only=True):
    """One file. ``policy_files`` hold for the story's tenant.

    ``data_age_seconds`` is how long ago the control plane of a follower confirmed its data when the request comes. Such
    a story is played on the services alone: behind its door, a follower takes none of the calls that make a story.
    """

    story: str
    now: str | None = None
    time_zone: str = "UTC"
    policy_files: dict[str, str] = {}
    identities: list[Member]
    policies: list[Policy] = []
    cards: list[Plastic] = []
    budgets: list[Limit] = []
    before: list[Event] = []
    data_age_seconds: int | None = None
    request: Question
    expect: Expected


class Decided(NamedTuple):
    """What a stage answered, with the sidecar's own ids: the decision and its record in the words of a story."""

    decision_id: str
    allowed: bool
    reasons: list[Document]
    budgets: list[Document]
    reservation: Document | None
    record: Document
    nearest: Document | None = None


class Stage(Protocol):
    """Somewhere a story can be played. Ids that are returned are the sidecar's."""

    def set_clock(self, now_us: int) -> None:
        """Make it that time, where the stage can."""

    def open(self, tenant_id: str, time_zone: str) -> None:
        """Make the tenant with its root, whose id is ``root``."""

    def add_identity(self, member: Member) -> None:
        """Make an identity."""

    def add_policy(self, policy: Policy) -> str:
        """Make a policy."""

    def add_card(self, card: Plastic) -> str:
        """Make a card."""

    def add_budget(self, limit: Limit) -> str:
        """Make a budget, of the card whose id is named."""

    def decide(self, question: Question) -> Decided:
        """Have a request decided."""

    def batch(self, questions: list[Question], semantics: str) -> list[bool]:
        """Have several requests decided as one; returns what was decided."""

    def end(self, kind: str, decision_id: str, amount: Figure | None, *, final: bool) -> None:
        """Settle, release or refund."""

    def mark(self, kind: str, identity_id: str) -> None:
        """Revoke, suspend or resume an identity."""

    def turn(self, kind: str, card_id: str) -> None:
        """Freeze, unfreeze or close a card."""

    def kill(self, identity_id: str) -> None:
        """Use the kill switch."""

    def limit(self, budget_id: str, limit: Figure) -> None:
        """Change the limit of a budget."""

    def drop_policy(self, policy_id: str) -> None:
        """Delete a policy."""

    def follow(self, age_seconds: int | None) -> None:
        """Have the data of a follower that was confirmed so long ago, or be none."""


def stories() -> dict[str, Story]:
    """Return every story by the name of its file."""
    return {path.stem: msgspec.yaml.decode(path.read_bytes(), type=Story) for path in sorted(FOLDER.glob("*.yaml"))}


def tenant_of(name: str) -> str:
    """Return the id of a story's tenant."""
    return name.replace("_", "-")


def write_policy_files(folder: Path) -> Path:
    """Write the policy files of every story, each for its own tenant; returns the folder for ``--policies``."""
    policies = folder / "policies"
    policies.mkdir()
    for name, story in stories().items():
        own = policies / tenant_of(name)
        own.mkdir()
        for file, text in story.policy_files.items():
            (own / file).write_text(text)
    return policies


def figure(value: object) -> str:
    """Return a figure in the one way that it is compared."""
    return format(Decimal(str(value)).normalize(), "f")


class Play:
    """One story on one stage."""

    def __init__(self, name: str, story: Story, stage: Stage) -> None:
        """Play ``story``."""
        self._name = name
        self._story = story
        self._stage = stage
        self._ids: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def run(self, now_us: int) -> None:
        """Play to the end and compare; ``now_us`` is the time of a story that does not care."""
        story, stage = self._story, self._stage
        stage.set_clock(now_us if story.now is None else parse_utc(story.now, "now"))
        stage.open(tenant_of(self._name), story.time_zone)
        for member in story.identities:
            stage.add_identity(member)
        for policy in story.policies:
            self._call(policy.name, stage.add_policy(policy))
        for card in story.cards:
            self._call(card.name, stage.add_card(card))
        for limit in story.budgets:
            card_id = None if limit.card is None else self._ids[limit.card]
            self._call(limit.name, stage.add_budget(msgspec.structs.replace(limit, card=card_id)))
        for event in story.before:
            self._happen(event)
        if story.now is not None:
            stage.set_clock(parse_utc(story.now, "now"))
        stage.follow(story.data_age_seconds)
        decided = self._decide(story.request)
        stage.follow(None)
        self._compare(decided)

    def _decide(self, question: Question) -> Decided:
        card_id = None if question.card is None else self._ids[question.card]
        return self._stage.decide(msgspec.structs.replace(question, card=card_id))

    def _call(self, name: str, identifier: str) -> None:
        self._ids[name], self._names[identifier] = identifier, name

    def _happen(self, event: Event) -> None:
        if event.at is not None:
            self._stage.set_clock(parse_utc(event.at, "at"))
        match event.do:
            case "authorize":
                assert event.request is not None
                decided = self._decide(event.request)
                assert decided.allowed is event.allowed, decided
                self._call(event.name, decided.decision_id)
            case "batch":
                assert self._stage.batch(event.requests, event.semantics) == event.verdicts
            case "settle" | "release" | "refund":
                self._stage.end(event.do, self._ids[event.decision], event.amount, final=event.final)
            case "revoke" | "suspend" | "resume":
                self._stage.mark(event.do, event.identity)
            case "freeze" | "unfreeze" | "close":
                self._stage.turn(event.do, self._ids[event.card])
            case "kill":
                self._stage.kill(event.identity)
            case "limit":
                self._stage.limit(self._ids[event.budget], event.limit)
            case "drop_policy":
                self._stage.drop_policy(self._ids[event.policy])

    def _compare(self, decided: Decided) -> None:
        expected = self._story.expect
        assert decided.allowed is expected.allowed, decided
        self._match(decided.reasons, expected.reasons, "reasons")
        self._match(decided.budgets, expected.budgets, "budgets")
        if expected.reservation is not None:
            self._match(decided.reservation, expected.reservation, "reservation")
        if not expected.allowed:
            assert decided.reservation is None
        if self._story.request.explain:
            self._match(decided.nearest, expected.nearest, "nearest")
        self._match(decided.record, expected.record, "record")

    def _match(self, found: object, expected: object, place: str) -> None:
        """Fail unless ``found`` is what is expected; fields of objects that are not named are left out."""
        match expected:
            case dict():
                assert isinstance(found, dict), (place, found)
                for key, value in expected.items():
                    assert key in found, (f"{place}.{key}", found)
                    self._match(found[key], value, f"{place}.{key}")
            case list():
                assert isinstance(found, list | tuple), (place, found)
                assert len(found) == len(expected), (place, found)
                for index, (one, value) in enumerate(zip(found, expected, strict=True)):
                    self._match(one, value, f"{place}[{index}]")
            case bool() | None:
                assert found is expected, (place, found)
            case int():
                assert figure(found) == figure(expected), (place, found)
            case _:
                assert self._named(found) == str(expected), (place, found)

    def _named(self, found: object) -> str:
        """Return an id as the story calls it, alone or in front of a rule's name, and everything else as it is."""
        head, slash, rest = str(found).partition("/")
        return self._names.get(head, head) + slash + rest
