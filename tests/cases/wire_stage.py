"""Stories over HTTP, on an application in this process or on a live server: whatever answers a call."""

from collections.abc import Callable
from typing import Protocol

from tests.cases.service_stage import claim_row
from tests.cases.story import ROOT_NAME, Decided, Document, Figure, Limit, Member, Plastic, Policy, Question
from tests.process.server import Answer


class Caller(Protocol):
    """A way to make calls as the operator."""

    def call(self, method: str, path: str, body: object = None, *, key: str | None = None) -> Answer:
        """Make a call."""


class WireStage:
    """The native door, spoken to by ``caller``; ``set_clock`` does what it can."""

    def __init__(self, caller: Caller, set_clock: Callable[[int], None] = lambda _: None) -> None:
        """Play on whatever answers ``caller``."""
        self._caller = caller
        self.set_clock = set_clock
        self._tenant = ""
        self._currencies: dict[str, str | None] = {}

    def _send(self, method: str, path: str, body: Document | None = None, key: str | None = None) -> Document:
        if body is None:
            path += ("&" if "?" in path else "?") + f"tenant_id={self._tenant}"
        else:
            body = {"tenant_id": self._tenant} | body
        answer = self._caller.call(method, path, body, key=key)
        assert answer.status in {200, 201, 204}, (method, path, body, answer)
        return answer.document if answer.body else {}

    def open(self, tenant_id: str, time_zone: str) -> None:
        """Make the tenant."""
        root = {"id": ROOT_NAME, "name": "Ann"}
        body = {"name": "Acme", "id": tenant_id, "time_zone": time_zone, "root": root}
        answer = self._caller.call("POST", "/v1/tenants", body)
        assert answer.status == 201, answer
        self._tenant = tenant_id

    def add_identity(self, member: Member) -> None:
        """Make an identity."""
        body: Document = {"parent_id": member.parent, "type": member.type, "name": member.id, "id": member.id}
        self._send("POST", "/v1/identities", body | {"metadata": member.metadata})

    def add_policy(self, policy: Policy) -> str:
        """Make a policy."""
        body: Document = {"name": policy.name, "rules": policy.rules, "cedar": policy.cedar, "identity_id": policy.of}
        return str(self._send("POST", "/v1/policies", body)["policy_id"])

    def add_card(self, card: Plastic) -> str:
        """Make a card."""
        body: Document = {"identity_id": card.of, "currency": card.currency}
        if card.mccs:
            body["allowed_mccs"] = card.mccs
        return str(self._send("POST", "/v1/treasury/cards", body)["card_id"])

    def add_budget(self, limit: Limit) -> str:
        """Make a budget."""
        body: Document = {
            "identity_id": limit.of,
            "card_id": limit.card,
            "name": limit.name,
            "dimension": limit.dimension,
            "period": limit.period,
            "limit": limit.limit,
            "currency": limit.currency,
            "actions": limit.actions,
            "on_exceeded": limit.on_exceeded,
        }
        made = str(self._send("POST", "/v1/budgets", body)["budget_id"])
        self._currencies[made] = limit.currency
        return made

    def _body(self, question: Question) -> Document:
        thing = question.resource
        resource: Document = {"type": thing.type, "id": thing.id}
        optional = ("amount", "currency", "merchant_category", "quantities", "attributes")
        resource |= {name: getattr(thing, name) for name in optional if getattr(thing, name)}
        body: Document = {
            "identity_id": question.identity,
            "action": question.action,
            "resource": resource,
            "context": question.context,
            "reservation_ttl_seconds": question.ttl_seconds,
            "card_id": question.card,
        }
        return body | {"explain": True} if question.explain else body

    def decide(self, question: Question) -> Decided:
        """Have a request decided."""
        decision = self._send("POST", "/v1/authorize", self._body(question), question.key)
        return Decided(
            decision_id=decision["decision_id"],
            allowed=decision["allowed"],
            reasons=[reason(each) for each in decision["reasons"]],
            budgets=[each | {"budget": each["budget_id"]} for each in decision["budget_checks"]],
            reservation=decision["reservation"],
            record=self._record(decision),
            nearest=decision.get("explanation", {}).get("nearest"),
        )

    def batch(self, questions: list[Question], semantics: str) -> list[bool]:
        """Have several requests decided as one."""
        requests = [self._body(question) for question in questions]
        answer = self._send("POST", "/v1/authorize/batch", {"requests": requests, "semantics": semantics})
        return [decision["allowed"] for decision in answer["decisions"]]

    def _record(self, decision: Document) -> Document:
        records = self._send("GET", "/v1/audit?limit=200")["data"]
        (record,) = [record for record in records if record["seq"] == decision["audit"]["seq"]]
        assert record["decision_id"] == decision["decision_id"]
        assert record["hash"] == decision["audit"]["hash"]
        document: Document = record | {
            "identity": record["identity_id"],
            "chain": [link[0] for link in record["chain"]],
            "budgets": [claim_row(row, self._currencies[row[0]]) for row in record["budgets"]],
        }
        return document

    def end(self, kind: str, decision_id: str, amount: Figure | None, *, final: bool) -> None:
        """Settle, release or refund."""
        body: Document = {} if amount is None else {"amount": amount}
        if not final:
            body["final"] = False
        self._send("POST", f"/v1/decisions/{decision_id}/{kind}", body)

    def mark(self, kind: str, identity_id: str) -> None:
        """Revoke, suspend or resume an identity."""
        if kind == "revoke":
            self._send("POST", f"/v1/identities/{identity_id}/revoke", {})
            return
        status = "suspended" if kind == "suspend" else "active"
        self._send("PATCH", f"/v1/identities/{identity_id}", {"status": status})

    def turn(self, kind: str, card_id: str) -> None:
        """Freeze, unfreeze or close a card."""
        self._send("POST", f"/v1/treasury/cards/{card_id}/{kind}", {})

    def kill(self, identity_id: str) -> None:
        """Use the kill switch."""
        self._send("POST", "/v1/treasury/kill-switch", {"identity_id": identity_id})

    def limit(self, budget_id: str, limit: Figure) -> None:
        """Change the limit of a budget."""
        self._send("PATCH", f"/v1/budgets/{budget_id}", {"limit": limit})

    def drop_policy(self, policy_id: str) -> None:
        """Delete a policy."""
        self._send("DELETE", f"/v1/policies/{policy_id}")

    def follow(self, age_seconds: int | None) -> None:
        """Follow nobody."""
        assert age_seconds is None, "a follower takes none of the calls that make a story"


def reason(shown: Document) -> Document:
    """Return a reason in the words of a story."""
    names = {"policy": "policy_id", "rule": "matched_rule", "identity": "identity_id", "card": "card_id"}
    names["budget"] = "budget_id"
    return shown | {ours: shown.get(theirs) for ours, theirs in names.items()}
