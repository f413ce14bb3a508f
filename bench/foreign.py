"""What each protocol says when an agent calls a tool, or pays with a card: the same two questions at every door.

No question is asked twice: each has another tool or another amount, and each card event is another authorization with
a signature of its own.
"""

import itertools
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from bench import tenant
from sidecar.cli.simulations.lithic_events import LithicAuthorization
from sidecar.cli.simulations.purchase import Names, Purchase
from sidecar.cli.simulations.signing import sign
from sidecar.cli.simulations.stripe_events import StripeAuthorization
from sidecar.core.card_events import Network

GATEWAY: Final = """
[http.identity]
from = "token"

[[http.routes]]
match = { path = "/tools/{tool}" }
action = "tool.call"
resource = { type = "tool", id = "{tool}" }

[[mcp.tools]]
name = "*"
"""
"""A mapping under which all doors ask for the same."""

SECRETS: Final[dict[Network, str]] = {
    "stripe": "whsec_of_the_benchmark",
    "lithic": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
AUTHORIZATIONS: Final[dict[Network, type[StripeAuthorization | LithicAuthorization]]] = {
    "stripe": StripeAuthorization,
    "lithic": LithicAuthorization,
}
HOST: Final = b"api.example.com"
OK: Final = 200
NO_CONTENT: Final = 204

Headers: TypeAlias = list[tuple[bytes, bytes]]
Make: TypeAlias = Callable[[str, dict[str, object], str], Awaitable[dict[str, Any]]]
"""Make what a path, a body and a token say."""


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""


class Way(NamedTuple):
    """A way to ask: ``ask`` makes another request each time, which is answered by ``status`` and says ``words``."""

    name: str
    ask: Callable[[], Asked]
    status: int = OK
    words: bytes = b""

    def is_permit(self, status: int, body: bytes) -> bool:
        """Whether an answer is a permit."""
        return status == self.status and self.words in body


class Agent(NamedTuple):
    """An agent that may call tools and pay with its card, which both networks know, and its tenant's programs."""

    identity_id: str
    token: str
    card_id: str
    programs: dict[Network, str]


async def set_up(make: Make, operator: str) -> Agent:
    """Make a tenant with an agent, a budget over it, and a card that each network knows by its own name."""
    founded = await make("tenants", {"name": "Bench", "time_zone": "America/Toronto"}, operator)
    key, root = founded["api_key"], founded["root_identity_id"]
    agent = (await make("identities", {"parent_id": root, "type": "agent", "name": "Worker"}, key))["identity_id"]
    tools: dict[str, object] = {"identity_id": root, "name": "Tools", "rules": {"actions": ["tool.call"]}}
    await make("policies", tools, key)
    await make("policies", {"identity_id": root, "name": "Cards", "rules": tenant.RULES}, key)
    await make("budgets", tenant.budget(root, "Total", "total", tenant.BUDGET_LIMIT), key)
    token = (await make("tokens", {"name": "Worker", "identity_id": agent}, key))["token"]
    cards, programs = [], {}
    for network, secret in SECRETS.items():
        known = {"network": network, "id": f"card-at-{network}"}
        body: dict[str, object] = {"identity_id": agent, "currency": "CAD", "external_ref": known}
        cards.append((await make("treasury/cards", body, key))["card_id"])
        program: dict[str, object] = {"network": network, "name": network, "secret": secret}
        programs[network] = (await make("treasury/card-programs", program, key))["program_id"]
    return Agent(agent, token, cards[0], programs)


class Foreign:
    """The requests of an agent at every door."""

    def __init__(self, agent: Agent) -> None:
        """Ask as ``agent``."""
        self._agent = agent
        self._numbers = itertools.count(1)
        self._names = Names(random.Random(7))

    def tools(self) -> tuple[Way, ...]:
        """Return the ways to ask for a tool call, the native one first: nothing is held, the decision is recorded."""
        return (
            Way("native", self._native_tool, words=b'"allowed":true'),
            Way("AuthZEN evaluation", self._authzen, words=b'"decision":true'),
            Way("Envoy over HTTP", self._envoy),
            Way("forward-auth", self._forward_auth, NO_CONTENT),
            Way("MCP", self._mcp, words=b'"allowed":true'),
        )

    def cards(self) -> tuple[Way, ...]:
        """Return the ways to ask for a payment with a card, the native one first: a budget is claimed."""
        return (
            Way("native, with a card", self._native_card, words=b'"allowed":true'),
            Way("Stripe", partial(self._swipe, "stripe"), words=b'"approved":true'),
            Way("Lithic", partial(self._swipe, "lithic"), words=b'"APPROVED"'),
        )

    def tool(self) -> str:
        """Return the name of a tool that nobody called."""
        return f"tool-{next(self._numbers)}"

    def _json(self, path: str, document: dict[str, object]) -> Asked:
        body = orjson.dumps(document)
        own = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        return Asked("POST", path, [*self._shown(), *own], body)

    def _shown(self) -> Headers:
        return [(b"host", HOST), (b"authorization", f"Bearer {self._agent.token}".encode())]

    def _native_tool(self) -> Asked:
        return self._native("tool.call", {"type": "tool", "id": self.tool()})

    def _native_card(self) -> Asked:
        merchant = {"type": "merchant", "id": "AWS", "merchant_category": "7372"}
        money = {"amount": self._minor() / 100, "currency": "CAD"}
        return self._native("card.authorize", merchant | money, card_id=self._agent.card_id)

    def _native(self, action: str, resource: dict[str, object], **more: object) -> Asked:
        question = {"identity_id": self._agent.identity_id, "action": action, "resource": resource}
        return self._json("/v1/authorize", question | more)

    def _authzen(self) -> Asked:
        question: dict[str, object] = {"subject": {"type": "agent", "id": self._agent.identity_id}}
        question |= {"action": {"name": "tool.call"}, "resource": {"type": "tool", "id": self.tool()}}
        return self._json("/access/v1/evaluation", question)

    def _envoy(self) -> Asked:
        return Asked("GET", f"/envoy/tools/{self.tool()}", self._shown())

    def _forward_auth(self) -> Asked:
        told = [(b"x-original-method", b"GET"), (b"x-original-host", HOST)]
        uri = (b"x-original-uri", f"/tools/{self.tool()}".encode())
        return Asked("GET", "/forward-auth", [*self._shown(), *told, uri])

    def _mcp(self) -> Asked:
        params = {"name": self.tool(), "arguments": {"query": "sidecar"}}
        return self._json("/mcp/authorize", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})

    def _swipe(self, network: Network) -> Asked:
        amount_minor = self._minor()
        purchase = Purchase(
            card=f"card-at-{network}", amount_minor=amount_minor, currency="CAD", merchant="AWS", category="7372"
        )
        authorization = AUTHORIZATIONS[network](purchase, self._names, lambda: time.time_ns() // 1_000)
        message = authorization.ask(amount_minor)
        signed = sign(network, SECRETS[network], message, int(time.time()))
        headers = [(name.lower().encode(), value.encode()) for name, value in signed.items()]
        own = [(b"host", HOST), (b"content-length", b"%d" % len(message.body))]
        return Asked("POST", f"/card-network/{network}/{self._agent.programs[network]}", own + headers, message.body)

    def _minor(self) -> int:
        """Return an amount that nobody asked for yet, within what a payment may be."""
        return next(self._numbers) % 20_000 + 1
