"""One caller of the crash test: it spends, settles and changes things, and remembers every answer that it was given.

It retries what was in flight when the server died, with the same idempotency key, as a well-behaved client does.
"""

import random
from typing import NamedTuple

from tests.process.server import Acme, Answer, Client, Document, Lost, Refused

TOKENS = 7


class Order(NamedTuple):
    """One call: enough to make it again."""

    kind: str
    method: str
    path: str
    body: Document
    key: str | None = None
    about: str = ""


class Till(NamedTuple):
    """An account to pay from and one to pay to."""

    source: str
    target: str


class Spender:
    """Makes calls of all kinds until the server is gone. ``number`` keeps its keys and ids apart from others'."""

    def __init__(self, number: int, acme: Acme, budget_id: str, till: Till, seed: int) -> None:
        """Spend within ``acme`` and out of ``till``; the limit of ``budget_id`` is changed now and then."""
        self._number = number
        self._acme = acme
        self._budget_id = budget_id
        self._till = till
        self._random = random.Random(seed)
        self._made = 0
        self._open: list[str] = []
        self._settled: list[str] = []
        self._mortal: str | None = None
        self.pending: Order | None = None
        self.decided: list[tuple[Order, Document]] = []
        self.paid: list[tuple[Order, Document]] = []
        self.reservations: dict[str, Document] = {}
        self.revoked: list[str] = []
        self.fault: BaseException | None = None

    def spend(self, client: Client) -> None:
        """Call until nobody listens any more; a lost connection is made again, and what it carried is repeated."""
        try:
            while True:
                self._attempt(client, self.pending or self._next())
        except Refused:
            return
        except BaseException as error:  # noqa: BLE001 -- a thread's failure is told by the test
            self.fault = error
        finally:
            client.close()

    def _attempt(self, client: Client, order: Order) -> None:
        self.pending = order
        try:
            answer = make(client, order)
        except Lost:
            return
        if answer.status != 503:
            self._learn(order, answer)
            self.pending = None

    def resolve(self, client: Client) -> None:
        """Repeat what was in flight, then once more: the second answer must be the first one, stored."""
        order, self.pending = self.pending, None
        if order is None:
            return
        first = make(client, order)
        self._learn(order, first)
        if order.key is not None:
            again = make(client, order)
            assert again.is_replayed, (order, again)
            assert again.exact == first.exact, (order, first, again)

    def _learn(self, order: Order, answer: Answer) -> None:
        expected = {"create": {200, 201, 409}, "pay": {201}}.get(order.kind, {200})
        assert answer.status in expected, (order, answer)
        match order.kind:
            case "authorize":
                self._decided(order, answer.exact)
            case "pay":
                self.paid.append((order, answer.exact))
            case "settle" | "release" | "refund":
                self.reservations[order.about] = without_id(answer.exact)
                if order.kind == "settle":
                    self._settled.append(order.about)
            case "create":
                self._mortal = order.about
            case "revoke":
                self.revoked.append(order.about)
                self._mortal = None

    def _decided(self, order: Order, document: Document) -> None:
        assert not (document["allowed"] and order.body["identity_id"] in self.revoked), (order, document)
        self.decided.append((order, document))
        if document["allowed"]:
            self.reservations[document["decision_id"]] = document["reservation"]
            self._open.append(document["decision_id"])

    def _next(self) -> Order:
        chance = self._random.random()
        if chance < 0.30 and self._open:
            return self._ending(self._open.pop(self._random.randrange(len(self._open))))
        if chance < 0.35 and self._settled:
            return self._about(self._settled.pop(), "refund", {"amount": "0.25"})
        if chance < 0.40:
            return self._change_of_limit()
        if chance < 0.45:
            return self._change_of_identity()
        if chance < 0.50:
            return self._mortality()
        if chance < 0.65:
            return self._pay()
        return self._authorize(self._acme.agent)

    def _pay(self) -> Order:
        """Pay, now and then more than any budget has."""
        amount = f"{self._random.randint(1, 9) if self._random.random() < 0.9 else 1_000_000}.25"
        body = {"from_account_id": self._till.source, "to_account_id": self._till.target} | {"currency": "CAD"}
        key = self._key()
        return Order("pay", "POST", "/v1/payments", body | {"amount": amount, "request_id": f"pay {key}"}, key)

    def _ending(self, decision_id: str) -> Order:
        match self._random.randrange(3):
            case 0:
                return self._about(decision_id, "release", {})
            case 1:
                return self._about(decision_id, "settle", {})
            case _:
                return self._about(decision_id, "settle", {"amount": "0.50"})

    def _about(self, decision_id: str, kind: str, body: Document) -> Order:
        return Order(kind, "POST", f"/v1/decisions/{decision_id}/{kind}", body, self._key(), decision_id)

    def _authorize(self, identity_id: str) -> Order:
        request = self._acme.request(f"{self._random.randint(1, 9)}.25") | {"identity_id": identity_id}
        request["resource"] |= {"quantities": {"tokens": self._random.randint(1, TOKENS)}}
        return Order("authorize", "POST", "/v1/authorize", request, self._key())

    def _change_of_limit(self) -> Order:
        limit = self._random.randint(10, 100_000)
        return Order("change", "PATCH", f"/v1/budgets/{self._budget_id}", {"limit": limit})

    def _change_of_identity(self) -> Order:
        self._made += 1
        body = {"metadata": {"seen": f"{self._number}-{self._made}"}}
        return Order("change", "PATCH", f"/v1/identities/{self._acme.team}", body)

    def _mortality(self) -> Order:
        """Make a child of the agent, or revoke it; between the two it may spend."""
        if self._mortal is None:
            self._made += 1
            chosen = f"mortal-{self._number}-{self._made}"
            body = {"parent_id": self._acme.agent, "type": "agent", "name": "mortal", "id": chosen}
            return Order("create", "POST", "/v1/identities", body, about=chosen)
        if self._random.random() < 0.5:
            return self._authorize(self._mortal)
        return Order("revoke", "POST", f"/v1/identities/{self._mortal}/revoke", {}, about=self._mortal)

    def _key(self) -> str:
        self._made += 1
        return f"key-{self._number}-{self._made}"


def make(client: Client, order: Order) -> Answer:
    """Make the call that ``order`` describes."""
    return client.call(order.method, order.path, order.body, key=order.key)


def without_id(reservation: Document) -> Document:
    """Return a reservation as a decision shows it."""
    return {name: value for name, value in reservation.items() if name != "decision_id"}
