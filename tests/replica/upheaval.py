"""What happens to a tenant at its control plane: every kind of change that a follower has to know of.

Each change is named by its kind and a number that picks what it is about, so that hypothesis or a seeded choice can
draw it. All that the tenant ever was is remembered by revision and policy files: a follower may be at any of these
states and at no other.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from sidecar.core.directory import Identity
from sidecar.core.feed import files_digest, files_of
from sidecar.core.snapshot import PolicyFiles, SourceFile
from tests.process.server import Document
from tests.replica.control_plane_house import ROOT_IDENTITY, TENANT, ControlPlaneHouse, State
from tests.service.builders import shipped_files

TEAM: Final = "team"
REFUSALS: Final = {400, 404, 409}
"""What a change may be answered that does not fit any more: of somebody who is revoked, of what is gone."""


class Version(NamedTuple):
    """Which state: the tenant's revision and the policy files that hold for it."""

    revision: int
    files_digest: str


class Upheaval:
    """Changes one tenant, whose key is ``key``. ``changes`` are the kinds that there are."""

    def __init__(self, house: ControlPlaneHouse, key: str) -> None:
        """Begin with a team below the root and an agent in it that may do everything."""
        self.house = house
        self.key = key
        self.history: dict[Version, State] = {}
        self.revoked_at: dict[str, int] = {}
        self.done: Counter[str] = Counter()
        self._made = 0
        self.identities = [ROOT_IDENTITY]
        self._policies: list[str] = []
        self._budgets: list[str] = []
        self._cards: list[str] = []
        self._tokens: list[str] = []
        self.changes: dict[str, Callable[[int], None]] = {
            "add an identity": self._add_identity,
            "change an identity": self._change_identity,
            "suspend": self._suspend,
            "revoke": self._revoke,
            "add a policy": self._add_policy,
            "add a policy that looks elsewhere": self._add_looking_policy,
            "delete a policy": self._delete_policy,
            "add a budget": self._add_budget,
            "change a budget": self._change_budget,
            "delete a budget": self._delete_budget,
            "add a card": self._add_card,
            "freeze a card": self._freeze_card,
            "kill switch": self._kill,
            "add a token": self._add_token,
            "rotate a token": self._rotate_token,
            "delete a token": self._delete_token,
            "replace the files": self._replace_files,
        }
        self._identity(ROOT_IDENTITY, "team", TEAM)
        self._identity(TEAM, "agent", "buyer")
        self._do("POST", "/v1/policies", {"identity_id": ROOT_IDENTITY, "name": "all", "rules": {}})
        self.note()

    def do(self, kind: str, pick: int) -> None:
        """Make one change and remember what it led to."""
        before = self.version
        self.changes[kind](pick)
        self.done[kind] += self.version != before
        self.note()

    def note(self) -> None:
        """Remember the present state."""
        version = self.version
        if version not in self.history:
            with self.house.look() as part:
                self.history[version] = State.of(part)

    @property
    def version(self) -> Version:
        """Which state the control plane is in."""
        with self.house.worker.store.read() as txn:
            tenant = txn.tenants.find(TENANT)
            assert tenant is not None
            held = txn.policy_files()
            assert held is not None
            digest = files_digest(files_of(held, TENANT))
            return Version(txn.tenants.revisions(tenant.number).entities, digest)

    def _do(self, method: str, path: str, body: Document | None = None) -> Document | None:
        """Make one call; None when it does not fit any more."""
        given = self.house.call(method, path, body, self.key)
        if given.status in REFUSALS:
            return None
        return self.house.read(given)

    def _identity(self, parent: str, kind: str, name: str) -> None:
        body = {"parent_id": parent, "type": kind, "name": name, "id": name}
        if self._do("POST", "/v1/identities", body) is not None:
            self.identities.append(name)

    def _one(self, pick: int) -> str:
        return self.identities[pick % len(self.identities)]

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}-{self._made}"

    def _add_identity(self, pick: int) -> None:
        self._identity(self._one(pick), "agent", self._name("agent"))

    def _change_identity(self, pick: int) -> None:
        body = {"name": self._name("renamed"), "metadata": {"seen": str(pick)}}
        self._do("PATCH", f"/v1/identities/{self._one(pick)}", body)

    def _suspend(self, pick: int) -> None:
        who = self._one(pick)
        with self.house.look() as part:
            found = part.identities.get(who)
        assert isinstance(found, Identity)
        status = "active" if found.status == "suspended" else "suspended"
        self._do("PATCH", f"/v1/identities/{who}", {"status": status})

    def _revoke(self, pick: int) -> None:
        who = self._one(pick)
        if who in {ROOT_IDENTITY, TEAM} or pick % 2:
            return  # or soon nothing could happen any more
        if self._do("POST", f"/v1/identities/{who}/revoke", {}) is not None:
            self.revoked_at.setdefault(who, self.version.revision)

    def _add_policy(self, pick: int) -> None:
        rules = {"actions": ["card.authorize"], "max_amount": pick % 50 + 1, "currencies": ["CAD"]}
        body = {"identity_id": self._one(pick), "name": self._name("policy"), "rules": rules}
        self._keep(self._policies, self._do("POST", "/v1/policies", body), "policy_id")

    def _add_looking_policy(self, pick: int) -> None:
        looked_at = self._one(pick)
        if looked_at in {ROOT_IDENTITY, TEAM}:
            return
        text = (
            f'permit (principal in ?principal, action == Action::"tool.call", resource) '
            f'when {{ Agent::"{looked_at}".status == "active" }};'
        )
        body = {"identity_id": self._one(pick // 7), "name": self._name("policy"), "cedar": text}
        self._keep(self._policies, self._do("POST", "/v1/policies", body), "policy_id")

    def _delete_policy(self, pick: int) -> None:
        self._drop("/v1/policies", self._policies, pick)

    def _add_budget(self, pick: int) -> None:
        body = {"name": self._name("budget"), "dimension": "amount", "currency": "CAD"}
        body |= {"period": ("daily", "total", "rolling_24h")[pick % 3], "limit": str(pick % 1_000)}
        owner = {"card_id": self._cards[pick % len(self._cards)]} if self._cards and pick % 2 else None
        owner = owner or {"identity_id": self._one(pick)}
        self._keep(self._budgets, self._do("POST", "/v1/budgets", body | owner), "budget_id")

    def _change_budget(self, pick: int) -> None:
        if self._budgets:
            budget = self._budgets[pick % len(self._budgets)]
            self._do("PATCH", f"/v1/budgets/{budget}", {"limit": str(pick % 777)})

    def _delete_budget(self, pick: int) -> None:
        self._drop("/v1/budgets", self._budgets, pick)

    def _add_card(self, pick: int) -> None:
        made = self._do("POST", "/v1/treasury/cards", {"identity_id": self._one(pick), "currency": "CAD"})
        self._keep(self._cards, made, "card_id")

    def _freeze_card(self, pick: int) -> None:
        if self._cards:
            verb = ("freeze", "unfreeze", "close")[pick % 3]
            self._do("POST", f"/v1/treasury/cards/{self._cards[pick % len(self._cards)]}/{verb}", {})

    def _kill(self, pick: int) -> None:
        self._do("POST", "/v1/treasury/kill-switch", {"identity_id": self._one(pick)})

    def _add_token(self, pick: int) -> None:
        body = {"name": self._name("token")} | ({} if pick % 3 == 0 else {"identity_id": self._one(pick)})
        self._keep(self._tokens, self._do("POST", "/v1/tokens", body), "token_id")

    def _rotate_token(self, pick: int) -> None:
        if self._tokens:
            self._do("POST", f"/v1/tokens/{self._tokens[pick % len(self._tokens)]}/rotate", {})

    def _delete_token(self, pick: int) -> None:
        self._drop("/v1/tokens", self._tokens, pick)

    def _replace_files(self, pick: int) -> None:
        self.house.replace_files(files_with(pick % 4))

    def _keep(self, known: list[str], made: Document | None, name: str) -> None:
        if made is not None:
            known.append(made[name])

    def _drop(self, path: str, known: list[str], pick: int) -> None:
        if known:
            self._do("DELETE", f"{path}/{known.pop(pick % len(known))}")


def files_with(number: int) -> PolicyFiles:
    """Return the shipped policy files and one more that says ``number``; 0 adds none."""
    shipped = shipped_files()
    if number == 0:
        return shipped
    text = f'@id("more/{number}")\nforbid (principal, action == Action::"tool.call", resource == Tool::"t{number}");\n'
    more = SourceFile("policies/more.cedar", text)
    own: dict[str, tuple[SourceFile, ...]] = {}
    if number > 2:
        own[TENANT] = (SourceFile(f"policies/tenants/{TENANT}/own.cedar", text.replace("more", "own")),)
    return PolicyFiles(schemas=shipped.schemas, shared=(*shipped.shared, more), by_tenant=own)
