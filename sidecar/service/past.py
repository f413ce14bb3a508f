"""A tenant as it was at each record of its log: folded from record 0, with nothing assumed that no fact says.

Facts are taken by their hash and by nothing else. One that was erased is no mistake of the log: whatever looks at what
it told raises ``FactMissing``, and its asker tells what is missing instead of an answer.
"""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Final, Protocol, TypeVar

import msgspec

from sidecar.core.budget import Budget, card_owner
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Tenant
from sidecar.core.errors import ValidationFailed
from sidecar.core.history import (
    ApiPolicy,
    BudgetDeleted,
    Changed,
    Decided,
    Ended,
    Event,
    Manifest,
    Opened,
    digest,
    may_reopen,
    read_event,
    read_manifest,
)
from sidecar.core.model import AuthorizeRequest
from sidecar.core.policy import read_statements
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.recent import Recent
from sidecar.core.snapshot import (
    CompiledFiles,
    PolicyFiles,
    PolicyRecord,
    SourceFile,
    TenantPolicies,
    compile_files,
    compile_tenant,
)
from sidecar.service.scene import Scene, Shelf
from sidecar.service.store import Listed

T = TypeVar("T")
V = TypeVar("V")

REVISIONS_MAX: Final = 64
"""Policy revisions that are kept compiled: a history goes from one to the next, and seldom back."""


class FactMissing(Exception):
    """What was asked for lies in a fact that was erased; ``what`` names it."""

    def __init__(self, what: str) -> None:
        """Keep what is missing."""
        super().__init__(what)
        self.what = what


class Chronicle(Protocol):
    """The log of one tenant up to some record, in a data directory or in an export."""

    @property
    def tenant_id(self) -> str:
        """Whose it is."""

    @property
    def origin(self) -> str:
        """The name of the log."""

    @property
    def size(self) -> int:
        """How many records it has."""

    @property
    def link(self) -> bytes:
        """The link of its last record."""

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records from the first on, as seq and body."""

    def fact(self, digest: bytes, seq: int) -> bytes | None:
        """Return the bytes that record ``seq`` refers to, None when they were erased."""

    def place(self, seq: int) -> str:
        """Return where record ``seq`` lies, as messages name it."""


_identity: Final = msgspec.json.Decoder(Identity)
_card: Final = msgspec.json.Decoder(Card)
_budget: Final = msgspec.json.Decoder(Budget)
_request: Final = msgspec.json.Decoder(AuthorizeRequest)


class Facts:
    """The facts of one log, each compared with its address when it is read."""

    def __init__(self, chronicle: Chronicle) -> None:
        """Read them from ``chronicle``."""
        self._chronicle = chronicle

    def content(self, address: str, seq: int, what: str) -> bytes:
        """Return the bytes of a fact.

        Raises FactMissing where they were erased, ValidationFailed where they are not what the address says.
        """
        wanted = digest(address)
        content = self._chronicle.fact(wanted, seq)
        if content is None:
            raise FactMissing(what)
        if sha256(content).digest() != wanted:
            raise ValidationFailed(f"the fact `{address}` was changed: its content has another hash")
        return content

    def text(self, address: str, seq: int, what: str) -> str:
        """Return a fact that is a text. Raises as ``content`` does."""
        return self.content(address, seq, what).decode()

    def value(self, decoder: msgspec.json.Decoder[V], address: str, seq: int, what: str) -> V:
        """Return a fact that is a value. Raises as ``content`` does, ValidationFailed for what cannot be read."""
        content = self.content(address, seq, what)
        try:
            return decoder.decode(content)
        except msgspec.DecodeError as error:
            raise ValidationFailed(f"the fact of {what} cannot be read: {error}") from error

    def request(self, decided: Decided) -> AuthorizeRequest:
        """Return what was asked. Raises FactMissing, ValidationFailed."""
        return self.value(_request, decided.request, decided.seq, "the request")


class ErasableShelf(Shelf[T]):
    """Values of one kind, of which some are known to have been and not what they were."""

    def __init__(self) -> None:
        """Miss nothing."""
        super().__init__()
        self._missing: dict[str, str] = {}
        self._owners: dict[str, dict[str, str]] = {}

    def get(self, key: str) -> T | None:
        """Return the value with this id. Raises FactMissing where its version was erased."""
        if key in self._missing:
            raise FactMissing(self._missing[key])
        return super().get(key)

    def owned(self, owner: str) -> Iterator[Listed[T]]:
        """Yield the values that belong to ``owner``. Raises FactMissing where one was erased."""
        for what in self._owners.get(owner, {}).values():
            raise FactMissing(what)
        return super().owned(owner)

    def put(self, key: str, value: T, owner: str | None = None) -> None:
        """Hold a value. What its owner's counters missed stays missing, so one that has an owner is not found again."""
        if owner is None:
            self._missing.pop(key, None)
        super().put(key, value, owner)

    def lose(self, key: str, what: str, owner: str | None = None) -> None:
        """Know no more what this value is."""
        self._missing[key] = what
        if owner is not None:
            self._owners.setdefault(owner, {})[key] = what

    def drop(self, key: str, owner: str) -> None:
        """Let a value go, a missing one as well."""
        self._owners.get(owner, {}).pop(key, None)
        super().drop(key, owner)


class PastScene(Scene):
    """A scene some of whose facts may have been erased."""

    def __init__(self, tenant: Tenant) -> None:
        """Begin with nobody in it."""
        super().__init__(tenant)
        self.lost_identities: ErasableShelf[Identity] = ErasableShelf()
        self.lost_cards: ErasableShelf[Card] = ErasableShelf()
        self.lost_budgets: ErasableShelf[Budget] = ErasableShelf()
        self.identities = self.lost_identities
        self.cards = self.lost_cards
        self.budgets = self.lost_budgets
        self._owners: dict[str, str] = {}

    def lose_identity(self, identity_id: str, what: str) -> None:
        """Know no more what an identity is."""
        self.revision += 1
        self.lost_identities.lose(identity_id, what)

    def lose_card(self, card_id: str, what: str) -> None:
        """Know no more what a card is."""
        self.revision += 1
        self.lost_cards.lose(card_id, what)

    def lose_budget(self, budget_id: str, owner: str, what: str) -> None:
        """Know no more what a budget is, nor, from then on, what it has used."""
        self.revision += 1
        self._owners[budget_id] = owner
        self.lost_budgets.lose(budget_id, what, owner)

    def drop_budget(self, budget_id: str) -> None:
        """Let a budget go."""
        owner = self._owners.pop(budget_id, None)
        if owner is None:
            super().drop_budget(budget_id)
        else:
            self.revision += 1
            self.lost_budgets.drop(budget_id, owner)


class Past:
    """One tenant up to the record that was taken last."""

    def __init__(self, opened: Opened, facts: Facts) -> None:
        """Begin with what record 0 tells; the tenant's number and name matter to no decision."""
        tenant = Tenant(
            tenant_id=opened.tenant_id,
            number=0,
            name=opened.tenant_id,
            mode=opened.mode,
            time_zone=opened.time_zone,
            root_identity_id=opened.root,
            log_id="",
            created_at_us=0,
        )
        self.scene = PastScene(tenant)
        self.facts = facts
        self.statutes = Statutes(opened.tenant_id, facts)
        self.lost: list[tuple[int, str]] = []

    def take(self, event: Event) -> None:
        """Change the scene as a record says; what a decision did to it stands in the records behind it.

        A version whose fact was erased is noted in ``lost``. Raises ValidationFailed for a fact that was changed.
        """
        if isinstance(event, Changed):
            self._change(event)
        elif isinstance(event, BudgetDeleted):
            self.scene.drop_budget(event.budget)

    def _change(self, event: Changed) -> None:
        scene, facts, seq = self.scene, self.facts, event.seq
        for key, revision, address in event.chain:
            what = f"identity `{key}` at revision {revision}"
            try:
                scene.put(facts.value(_identity, address, seq, what))
            except FactMissing:
                scene.lose_identity(key, what)
                self.lost.append((seq, what))
        for key, revision, address in event.cards:
            what = f"card `{key}` at revision {revision}"
            try:
                scene.put(facts.value(_card, address, seq, what))
            except FactMissing:
                scene.lose_card(key, what)
                self.lost.append((seq, what))
        for key, revision, address in event.budgets:
            what = f"budget `{key}` at revision {revision}"
            try:
                scene.put(facts.value(_budget, address, seq, what))
            except FactMissing:
                owner = card_owner(event.card) if event.card is not None else event.identity or ""
                scene.lose_budget(key, owner, what)
                self.lost.append((seq, what))


class Statutes:
    """The policies of then: compiled from the texts that a decision's manifest names, as they were."""

    def __init__(self, tenant_id: str, facts: Facts) -> None:
        """Compile those of one tenant."""
        self._tenant_id = tenant_id
        self._facts = facts
        self._manifests: Recent[str, Manifest] = Recent(REVISIONS_MAX)
        self._compiled: Recent[str, TenantPolicies] = Recent(REVISIONS_MAX)
        self._files: CompiledFiles | None = None
        self._newest: TenantPolicies | None = None
        self._parsed = ParsedPolicies()
        self._units: Recent[SourceFile, tuple[PolicyUnit, ...]] = Recent(4_096)
        self._texts: Recent[str, str] = Recent(4_096)

    def manifest(self, decided: Decided) -> Manifest:
        """Return what the policies of a decision consisted of. Raises FactMissing, ValidationFailed."""
        found = self._manifests.get(decided.policies)
        if found is None:
            found = read_manifest(self._facts.content(decided.policies, decided.seq, "the list of policies"))
            self._manifests.keep(decided.policies, found)
        return found

    def records(self, api: tuple[ApiPolicy, ...], seq: int) -> list[tuple[PolicyRecord, str | None]]:
        """Return the policies made by the API that a manifest names, each with the Cedar type of its identity.

        What is not in the facts is left empty: names, and the words for what would pass. Raises FactMissing.
        """
        return [(self._record(each, seq), each.owner_type) for each in api]

    def _record(self, named: ApiPolicy, seq: int) -> PolicyRecord:
        text = self._text(named.text, seq, f"policy `{named.policy_id}`")
        return PolicyRecord(
            policy_id=named.policy_id,
            identity_id=named.identity_id,
            name=named.policy_id,
            # Nobody knows the id of a policy before it is made, except those who compile rules.
            rules="{}" if f'@id("{named.policy_id}' in text else None,
            cedar=text,
            requirements={},
            created_at_us=0,
            revision=0,
        )

    def of(self, decided: Decided) -> TenantPolicies:
        """Return the policies that a decision was made by. Raises FactMissing, ValidationFailed."""
        found = self._compiled.get(decided.policies)
        if found is None:
            found = self._compile(self.manifest(decided), decided.seq)
            self._compiled.keep(decided.policies, found)
        return found

    def _compile(self, manifest: Manifest, seq: int) -> TenantPolicies:
        """Put the texts together. They held then, so Cedar is not asked again whether they fit their schema."""
        own = self._sources(manifest.files, seq)
        files = PolicyFiles(
            schemas=self._sources(manifest.schemas, seq), shared=(), by_tenant={self._tenant_id: own} if own else {}
        )
        self._files = compile_files(files, self._files)
        records = self.records(manifest.api, seq)
        self._newest = compile_tenant(self._files, self._tenant_id, records, self._newest, self._parsed, self._read)
        return self._newest

    def _sources(self, named: tuple[tuple[str, str], ...], seq: int) -> tuple[SourceFile, ...]:
        return tuple(SourceFile(path, self._text(address, seq, f"file `{path}`")) for path, address in named)

    def _text(self, address: str, seq: int, what: str) -> str:
        text = self._texts.get(address)
        if text is None:
            text = self._facts.text(address, seq, what)
            self._texts.keep(address, text)
        return text

    def _read(self, file: SourceFile) -> tuple[PolicyUnit, ...]:
        units = self._units.get(file)
        if units is None:
            units = read_statements(file.text, file.path, shared=False)
            self._units.keep(file, units)
        return units


def reopened(chronicle: Chronicle) -> frozenset[str]:
    """Return the decisions whose holds ended and were settled late or refunded: all others are over when they end."""
    found = set()
    for _, body in chronicle.entries():
        if may_reopen(body):
            with suppress(ValidationFailed):  # whoever takes the record names it
                event = read_event(body)
                if isinstance(event, Ended):
                    found.add(event.decision_id)
    return frozenset(found)
