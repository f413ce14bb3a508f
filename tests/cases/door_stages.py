"""The stages of foreign doors: a story's requests go through the door where its protocol can say them.

Everything else of a story is done natively, and what came out is read natively: a door must leave the same decision,
record and reservation behind. What a door needs to know beforehand (a mapping, a card program) is made of the corpus.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

import stripe
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse  # type: ignore[import-untyped]
from standardwebhooks import Webhook

from sidecar.doors.gateway.grpc_check import CheckDoor, Terms
from tests.cases.story import Decided, Document, Plastic, Question, Story, stories
from tests.cases.wire_stage import WireStage, reason
from tests.doors.checks import asked, headers_of
from tests.doors.door import Door
from tests.doors.networks import stripe_digest
from tests.process.server import Answer

TTL_SECONDS = 604_800
"""How long a hold is that no protocol can ask for otherwise."""


TERMS = Terms("x-sidecar-authorization", frozenset({b"x-agent-id", b"x-amount", b"x-card"}))
"""What the corpus's mapping says of a proxy's token and of headers that it reads."""

PERMISSION_DENIED = 7
"""The code of a denial, as gRPC numbers it."""


def secret_of(tenant_id: str) -> str:
    """Return the secret of a story's card program: no two of a network may be alike."""
    return "whsec_" + base64.b64encode(hashlib.sha256(tenant_id.encode()).digest()).decode()


class Caller(Protocol):
    """A way to make calls as somebody."""

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = ...,
        key: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Answer:
        """Make a call."""


class Asking(NamedTuple):
    """One request on its way through a door: where it is asked, by whom, and when."""

    caller: Caller
    tenant_id: str
    key: str
    name: str
    question: Question
    now_us: int
    card: str | None


class Asked(NamedTuple):
    """What a door answered."""

    decision_id: str
    allowed: bool


class ForeignDoor(Protocol):
    """A protocol: which questions it can say, and how."""

    def says(self, question: Question) -> bool:
        """Whether the protocol has words for all of it."""

    def ask(self, asking: Asking) -> Asked:
        """Ask through the door."""


def is_plain(question: Question) -> bool:
    """Whether there is nothing in a question that only the native call has."""
    return question.ttl_seconds == TTL_SECONDS and not question.explain


def is_money(question: Question) -> bool:
    """Whether a permit would hold something."""
    return question.resource.amount is not None or bool(question.resource.quantities)


class DoorStage(WireStage):
    """A story whose requests go through ``door``, each named after the story and its place in it."""

    def __init__(
        self, caller: Caller, door: ForeignDoor, set_clock: Callable[[int], None], now_us: Callable[[], int]
    ) -> None:
        """Play on whatever answers ``caller``."""
        super().__init__(caller, set_clock)
        self._door = door
        self._through = caller
        self._now_us = now_us
        self._asked = 0
        self._cards: dict[str, str] = {}

    def open(self, tenant_id: str, time_zone: str) -> None:
        """Make the tenant, with a program of the card network where the door is one's."""
        super().open(tenant_id, time_zone)
        self._asked, self._cards = 0, {}
        made = self._send("POST", "/v1/tokens", {"name": "door", "kind": "tenant"})
        self._key = str(made["token"])
        network = getattr(self._door, "network", None)
        if network is not None:
            body = {"network": network, "name": network, "secret": secret_of(tenant_id)}
            self._cards[network] = str(self._send("POST", "/v1/treasury/card-programs", body)["program_id"])

    def add_card(self, card: Plastic) -> str:
        """Make a card that each network could know."""
        network = getattr(self._door, "network", "stripe")
        reference = f"{network}-{self._tenant}-{card.name}"
        body: Document = {"identity_id": card.of, "currency": card.currency}
        body["external_ref"] = {"network": network, "id": reference}
        if card.mccs:
            body["allowed_mccs"] = card.mccs
        made = str(self._send("POST", "/v1/treasury/cards", body)["card_id"])
        self._cards[made] = reference
        return made

    def decide(self, question: Question) -> Decided:
        """Have a request decided, through the door where it can say it."""
        name = f"{self._tenant}-{self._asked}"
        self._asked += 1
        if not self._door.says(question):
            return super().decide(question)
        card = None if question.card is None else self._cards[question.card]
        program = self._cards.get(getattr(self._door, "network", ""), "")
        asking = Asking(self._through, self._tenant, self._key, name, question, self._now_us(), card)
        asked = self._door.ask(asking._replace(key=program or self._key))
        stored = self._send("GET", f"/v1/decisions/{asked.decision_id}")
        assert stored["allowed"] is asked.allowed
        return Decided(
            decision_id=asked.decision_id,
            allowed=asked.allowed,
            reasons=[reason(each) for each in stored["reasons"]],
            budgets=[each | {"budget": each["budget_id"]} for each in stored["budget_checks"]],
            reservation=stored["reservation"],
            record=self._record(stored),
        )


def questions(story: Story) -> Iterator[Question]:
    """Yield the single requests of a story in their order."""
    for event in story.before:
        if event.do == "authorize" and event.request is not None:
            yield event.request
    yield story.request


def type_of(story: str, identity: str) -> str:
    """Return the type of a story's identity."""
    members = {each.id: each.type for each in stories()[story.replace("-", "_")].identities}
    return members.get(identity, "user")


class AuthZen:
    """AuthZEN's evaluation: everything but a hold of another length and an explanation."""

    def says(self, question: Question) -> bool:
        """Whether it can be said."""
        return is_plain(question) and not question.resource.attributes

    def ask(self, asking: Asking) -> Asked:
        """Ask for one evaluation with a raw key."""
        question, thing = asking.question, asking.question.resource
        own = ("amount", "currency", "merchant_category", "quantities")
        properties: Document = {name: getattr(thing, name) for name in own if getattr(thing, name)}
        if question.card is not None:
            properties["card_id"] = question.card
        body = {
            "subject": {"type": type_of(asking.tenant_id, question.identity), "id": question.identity},
            "action": {"name": question.action},
            "resource": {"type": thing.type, "id": thing.id, "properties": properties},
            "context": question.context,
        }
        raw = (("Authorization", asking.key),)
        answer = asking.caller.call("POST", "/access/v1/evaluation", body, token=None, key=question.key, headers=raw)
        assert answer.status == 200, answer
        document = answer.document
        return Asked(document["context"]["decision_id"], document["decision"])


class Envoy:
    """Envoy's HTTP filter: each question has its route, and money comes in headers."""

    path = "/envoy"
    allowed = 200

    def says(self, question: Question) -> bool:
        """Whether it can be said: retries of a proxy carry no key."""
        return is_plain(question) and question.key is None

    def ask(self, asking: Asking) -> Asked:
        """Ask as a proxy that names the agent."""
        answer = asking.caller.call(
            "GET", f"/envoy/{asking.name}", token=None, headers=(("Host", "agents.test"), *self._told(asking))
        )
        return self._read(answer)

    def _told(self, asking: Asking) -> tuple[tuple[str, str], ...]:
        question = asking.question
        headers = [("x-sidecar-authorization", f"Bearer {asking.key}"), ("x-agent-id", question.identity)]
        if question.resource.amount is not None:
            headers.append(("x-amount", str(question.resource.amount)))
        if question.card is not None:
            headers.append(("x-card", question.card))
        return tuple(headers)

    def _read(self, answer: Answer) -> Asked:
        assert answer.status in {self.allowed, 403}, answer
        return Asked(answer.headers["x-decision-id"], answer.status == self.allowed)


class ForwardAuth(Envoy):
    """nginx, Traefik and Caddy: what holds nothing."""

    allowed = 204

    def says(self, question: Question) -> bool:
        """Whether it can be said."""
        return super().says(question) and not is_money(question)

    def ask(self, asking: Asking) -> Asked:
        """Ask as nginx does."""
        told = (("X-Original-Method", "GET"), ("X-Original-URI", f"/{asking.name}"), ("X-Original-Host", "agents.test"))
        answer = asking.caller.call("GET", "/forward-auth", token=None, headers=(*told, *self._told(asking)))
        return self._read(answer)


class Grpc(Envoy):
    """Envoy over gRPC: the same mapping, asked by a message in the process of the application."""

    allowed = 0

    def ask(self, asking: Asking) -> Asked:
        """Ask as Envoy's filter does, with the proxy's token beside the message."""
        door = asking.caller
        assert isinstance(door, Door)
        (proxy, *told) = self._told(asking)
        message = asked(
            f"/{asking.name}", **{name.replace("-", "_"): value for name, value in told}
        ).SerializeToString()
        check = CheckDoor(door.context, door.call_at("/envoy/{path:path}"), "/envoy", TERMS)
        response = CheckResponse.FromString(door.run(check.check(message, (proxy,))))
        assert response.status.code in {0, PERMISSION_DENIED}, response
        options = response.ok_response if response.status.code == 0 else response.denied_response
        return Asked(headers_of(options.headers)["x-decision-id"], response.status.code == 0)


class Mcp:
    """A gateway of MCP: each question is a tool, whose arguments have the money."""

    def says(self, question: Question) -> bool:
        """Whether it can be said: a tool spends with no card, and each question is a tool of its own."""
        return is_plain(question) and question.card is None and question.key is None

    def ask(self, asking: Asking) -> Asked:
        """Ask before the tool is called."""
        question = asking.question
        arguments: Document = {"id": question.resource.id, "quantities": question.resource.quantities}
        if question.resource.amount is not None:
            arguments["amount"] = str(question.resource.amount)
        params = {"name": asking.name, "arguments": arguments}
        body = {"method": "tools/call", "params": params, "identity_id": question.identity}
        answer = asking.caller.call("POST", "/mcp/authorize", body, token=asking.key)
        assert answer.status == 200, answer
        return Asked(answer.document["decision_id"], answer.document["allowed"])


class Stripe:
    """Stripe Issuing: a card pays a merchant in the card's currency."""

    network = "stripe"

    def says(self, question: Question) -> bool:
        """Whether it can be said: a network knows cards, and asks once."""
        thing = question.resource
        is_payment = (question.action, thing.type) == ("card.authorize", "merchant") and thing.amount is not None
        return is_payment and question.card is not None and not (question.key or question.explain or question.context)

    def ask(self, asking: Asking) -> Asked:
        """Swipe."""
        thing = asking.question.resource
        merchant: Document = {"name": thing.id, "category": None, "category_code": thing.merchant_category or ""}
        pending = {"amount": minor(asking.question), "currency": str(thing.currency).lower()}
        authorization: Document = {
            "id": f"iauth_{asking.name}",
            "object": "issuing.authorization",
            "amount": 0,
            "currency": pending["currency"],
            "approved": False,
            "status": "pending",
            "card": {"id": asking.card, "object": "issuing.card"},
            "merchant_data": merchant,
            "pending_request": pending,
            "request_history": [],
        }
        event: Document = {"id": f"evt_{asking.name}", "object": "event", "type": "issuing_authorization.request"}
        event |= {"created": asking.now_us // 1_000_000, "api_version": "2026-06-24", "data": {"object": authorization}}
        body = json.dumps(event).encode()
        stamp = asking.now_us // 1_000_000
        secret = secret_of(asking.tenant_id)
        header = f"t={stamp},v1={stripe_digest(body, secret, stamp)}"
        stripe.WebhookSignature.verify_header(body.decode(), header, secret, None)
        path = f"/card-network/stripe/{asking.key}"
        answer = asking.caller.call("POST", path, body, token=None, headers=(("Stripe-Signature", header),))
        assert answer.status == 200, answer
        return Asked(answer.document["metadata"]["decision_id"], answer.document["approved"])


class Lithic(Stripe):
    """Lithic's Auth Stream Access: likewise; the decision is found by its record."""

    network = "lithic"

    def ask(self, asking: Asking) -> Asked:
        """Swipe."""
        thing, amount = asking.question.resource, minor(asking.question)
        sum_of = {"amount": amount, "currency": thing.currency}
        event: Document = {
            "event_type": "card_authorization.approval_request",
            "token": f"00000000-0000-4000-8000-{hashlib.sha256(asking.name.encode()).hexdigest()[:12]}",
            "status": "AUTHORIZATION",
            "amount": amount,
            "amounts": dict.fromkeys(("cardholder", "hold", "merchant", "settlement"), sum_of),
            "card": {"token": asking.card, "last_four": "4242"},
            "merchant": {"descriptor": thing.id, "mcc": thing.merchant_category or ""},
            "created": "2026-02-03T12:00:00Z",
        }
        body = json.dumps(event).encode()
        stamp = datetime.fromtimestamp(asking.now_us // 1_000_000, UTC)
        signature = Webhook(secret_of(asking.tenant_id)).sign(f"msg_{asking.name}", stamp, body.decode())
        headers = (
            ("webhook-id", f"msg_{asking.name}"),
            ("webhook-timestamp", str(int(stamp.timestamp()))),
            ("webhook-signature", signature),
        )
        path = f"/card-network/lithic/{asking.key}"
        answer = asking.caller.call("POST", path, body, token=None, headers=headers)
        assert answer.status == 200, answer
        query = f"/v1/audit?tenant_id={asking.tenant_id}&limit=200"
        records = asking.caller.call("GET", query).document["data"]
        newest = [each for each in records if each["type"] == "decision"][-1]
        return Asked(newest["decision_id"], answer.document["result"] == "APPROVED")


def minor(question: Question) -> int:
    """Return the amount of a question in minor units: the currencies of the corpus have two places."""
    return int(Decimal(str(question.resource.amount)) * 100)


DOORS: dict[str, ForeignDoor] = {
    "authzen": AuthZen(),
    "envoy": Envoy(),
    "envoy_grpc": Grpc(),
    "forward_auth": ForwardAuth(),
    "mcp": Mcp(),
    "stripe": Stripe(),
    "lithic": Lithic(),
}
"""Every door by the name of its test."""


def write_gateway(folder: Path) -> Path:
    """Write the mapping file of the whole corpus: a route and a tool for each question of each story."""
    lines = ["[http.identity]", 'from = "header"', ""]
    tools: list[str] = []
    for name, story in stories().items():
        for number, question in enumerate(questions(story)):
            place = f"{name.replace('_', '-')}-{number}"
            lines += [*_route(place, question), ""]
            tools += [*_tool(place, question), ""]
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines + tools))
    return path


def _text(value: object) -> str:
    return json.dumps(str(value))


def _constants(values: Document) -> str:
    """Return a table of constants in one line."""
    return "{" + ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + "}"


def _route(place: str, question: Question) -> list[str]:
    thing = question.resource
    attributes = _constants(thing.attributes)
    lines = [
        "[[http.routes]]",
        f'match = {{path = "/{place}"}}',
        f"action = {_text(question.action)}",
        f"resource = {{type = {_text(thing.type)}, id = {_text(thing.id)}, attributes = {attributes}}}",
        f"context = {_constants(question.context)}",
    ]
    if thing.amount is not None:
        lines += ['amount = "{header:x-amount}"', f"currency = {_text(thing.currency)}"]
    if thing.merchant_category is not None:
        lines.append(f"merchant_category = {_text(thing.merchant_category)}")
    if thing.quantities:
        lines.append(f"quantities = {_constants({name: str(value) for name, value in thing.quantities.items()})}")
    if question.card is not None:
        lines.append('card_id = "{header:x-card}"')
    if is_money(question):
        lines.append('settle = "later"')
    return lines


def _tool(place: str, question: Question) -> list[str]:
    thing = question.resource
    lines = [
        "[[mcp.tools]]",
        f'name = "{place}"',
        f"action = {_text(question.action)}",
        f"resource_type = {_text(thing.type)}",
        'resource_id = "$.id"',
        f"attributes = {_constants(thing.attributes)}",
        f"context = {_constants(question.context)}",
    ]
    if thing.amount is not None:
        lines += ['amount = "$.amount"', f"currency = {_text(thing.currency)}"]
    if thing.merchant_category is not None:
        lines.append(f"merchant_category = {_text(thing.merchant_category)}")
    if thing.quantities:
        lines.append(f"quantities = {_constants({name: f'$.quantities.{name}' for name in thing.quantities})}")
    return lines
