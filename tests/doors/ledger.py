"""The Ledger dialect as its clients speak to it: a key in `Api-Key`, errors in its own shape."""

from collections.abc import Mapping
from typing import NamedTuple

from tests.doors.door import Door
from tests.process.server import Answer, Document

AGENTS = "/ledger/v1/agents"
NOON_MS = 1_773_057_600_000
"""What the clock of a door shows, as the dialect writes it."""


class Ledger(NamedTuple):
    """An organisation behind the dialect: a tenant with one user below its root, and the key of the tenant."""

    door: Door
    tenant_id: str
    key: str
    root: str
    user: str

    def call(
        self,
        method: str,
        path: str = "",
        body: object = None,
        *,
        token: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Make a call below the agents' path."""
        sent = {"Api-Key": self.key if token is None else token} | dict(headers or {})
        return self.door.call(method, f"{AGENTS}{path}", body, token=None, key=key, headers=tuple(sent.items()))

    def ok(self, method: str, path: str = "", body: object = None, status: int = 200) -> Document:
        """Make a call that must succeed and return its document."""
        answer = self.call(method, path, body)
        assert answer.status == status, (method, path, answer)
        return answer.document

    def native(self, method: str, path: str, body: object = None) -> Document:
        """Make a native call that must succeed and return its document."""
        return self.door.ok(method, path, body, token=self.key)

    def register(self, external_id: str = "agent-1", **more: object) -> Document:
        """Register an agent of the user."""
        return self.ok("POST", "/register", self.registration(external_id, **more), 201)

    def registration(self, external_id: str = "agent-1", **more: object) -> Document:
        """Return the body of a registration."""
        return {"externalId": external_id, "userId": self.user, "name": "Shopping Agent"} | more

    def authorize(self, agent_id: str, cents: int, **more: object) -> Document:
        """Have a payment by card decided natively, in USD."""
        resource = {"type": "merchant", "id": "AWS", "currency": "USD", "amount": f"{cents // 100}.{cents % 100:02}"}
        return self.native("POST", "/v1/authorize", REQUEST | {"identity_id": agent_id, "resource": resource} | more)

    def spend(self, agent_id: str, cents: int) -> str:
        """Have a payment permitted; returns the decision's id."""
        decision = self.authorize(agent_id, cents)
        assert decision["allowed"], decision
        decision_id: str = decision["decision_id"]
        return decision_id

    def state(self) -> Document:
        """Return what a refused call must leave as it is."""
        return {
            "head": self.native("GET", "/v1/audit/verify")["head"],
            "agents": self.native("GET", "/v1/identities?limit=200")["data"],
            "tokens": self.native("GET", "/v1/tokens?limit=200")["data"],
        }


REQUEST: Document = {"action": "card.authorize"}


def found(door: Door, name: str = "Org") -> Ledger:
    """Make an organisation with a user."""
    tenant = door.ok("POST", "/v1/tenants", {"name": name})
    key, root = tenant["api_key"], tenant["root_identity_id"]
    user = door.ok("POST", "/v1/identities", {"parent_id": root, "type": "user", "name": "A customer"}, token=key)
    return Ledger(door, tenant["tenant_id"], key, root, user["identity_id"])


def check_error(answer: Answer, status: int, code: str) -> str:
    """Check that an answer is an error in the dialect's shape; returns its message."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.document) == {"error"}
    assert set(answer.document["error"]) == {"code", "message"}
    assert answer.document["error"]["code"] == code, answer
    assert "www-authenticate" not in answer.headers
    message: str = answer.document["error"]["message"]
    assert message.strip()
    assert "\n" not in message
    return message
