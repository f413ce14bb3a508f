"""A client of the tLedger dialect behind a door, and a tenant that uses it."""

from typing import NamedTuple

from tests.doors.door import Door, House, build
from tests.process.server import Answer, Document

API = "/tledger/api/v1"

Pair = tuple[tuple[str, str], tuple[str, str]]


def pair(key: str, secret: str) -> Pair:
    """The headers of a pair."""
    return ("X-API-Key", key), ("X-API-Secret", secret)


class Portal(NamedTuple):
    """A tenant with a project in which two agents have their accounts."""

    house: House
    key: str
    secret: str
    project: Document
    buyer: Document
    seller: Document

    def call(self, method: str, path: str, body: object = None, *, headers: Pair | None = None) -> Answer:
        """Make a call, with the tenant's pair unless told."""
        headers = pair(self.key, self.secret) if headers is None else headers
        return self.house.door.call(method, f"{API}{path}", body, token=None, headers=headers)

    def ok(self, method: str, path: str, body: object = None, *, headers: Pair | None = None) -> Document:
        """Make a call that must succeed and return its document."""
        answer = self.call(method, path, body, headers=headers)
        assert answer.status == 200, (method, path, answer)
        return answer.document

    def account(self, agent: Document, asset: str = "USDC") -> str:
        """The account of an agent in an asset."""
        (found,) = (each["id"] for each in agent["account"] if each["asset"] == asset)
        account_id: str = found
        return account_id

    def deposit(self, agent: Document, amount: object, asset: str = "USDC") -> None:
        """Let money come in."""
        self.house.ok("POST", f"/v1/accounts/{self.account(agent, asset)}/deposits", {"amount": amount})

    def balance(self, agent: Document, asset: str = "USDC") -> object:
        """What an agent has."""
        return self.ok("GET", f"/accounts/{self.account(agent, asset)}")["balance"]

    def order(self, amount: object = 10, **changes: object) -> Document:
        """The body of a payment of the buyer to the seller."""
        sides = {"sending_agent_id": self.buyer["id"], "receiving_agent_id": self.seller["id"]}
        return sides | {"payment_amount": amount, "currency": "USDC"} | changes

    def pay(self, amount: object = 10, **changes: object) -> Document:
        """Make a payment of the buyer to the seller, which is answered."""
        return self.ok("POST", "/payment", self.order(amount, **changes))


def opened(door: Door, name: str = "Portal Co") -> Portal:
    """Make a tenant with a pair, a project and two agents."""
    house = build(door, name)
    made = house.ok("POST", f"{API}/api_key/generate-api-key", {})
    portal = Portal(house, made["api_key"], made["api_secret"], {}, {}, {})
    project = portal.ok("POST", "/projects", {"name": "Trading", "description": "Desk 7", "daily_limit": 1000})
    drafts = ({"name": who, "description": "", "project_id": project["id"]} for who in ("Buyer", "Seller"))
    buyer, seller = (portal.ok("POST", "/agent_profiles", draft) for draft in drafts)
    return portal._replace(project=project, buyer=buyer, seller=seller)


def check_detail(answer: Answer, status: int, *loc: object, kind: str | None = None) -> str:
    """Check that an answer is an error in this vendor's shape, at the place ``loc``; returns its sentence."""
    assert answer.status == status, (answer.status, answer.body)
    assert set(answer.document) == {"detail"}
    (detail,) = answer.document["detail"]
    assert set(detail) == {"loc", "msg", "type"}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    if loc:
        assert detail["loc"] == [*loc], detail
    if kind is not None:
        assert detail["type"] == kind, detail
    sentence: str = detail["msg"]
    assert sentence.strip()
    assert "\n" not in sentence
    return sentence
