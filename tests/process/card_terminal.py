"""A card network of a test: a program and a card at a real server, and signed messages over the tests' own client.

What is said comes from ``sidecar simulate``'s events, which the networks' own libraries read (``tests/cli``).
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from sidecar.cli.simulations.courses import COURSES, Course, play
from sidecar.cli.simulations.firing import AUTHORIZATIONS
from sidecar.cli.simulations.purchase import Authorization, Message, Names, Purchase
from sidecar.cli.simulations.signing import sign
from sidecar.core.card_events import Network
from tests.process.server import Acme, Answer, Client

SECRETS: dict[Network, str] = {
    "stripe": "whsec_secret_of_the_tests_at_stripe",
    "lithic": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}
NETWORKS: tuple[Network, ...] = ("stripe", "lithic")


class CardAccount(NamedTuple):
    """A card program with one card of the tenant's agent."""

    network: Network
    program_id: str
    secret: str
    card_id: str
    card: str

    def sign(self, message: Message, secret: str | None = None, now_seconds: int | None = None) -> dict[str, str]:
        """Return the headers of ``message`` as of now."""
        return sign(self.network, secret or self.secret, message, now_seconds or int(time.time()))

    def send(self, client: Client, message: Message, secret: str | None = None) -> Answer:
        """Send a message to the address that all programs of the network share."""
        headers = self.sign(message, secret)
        return client.call("POST", f"/card-network/{self.network}", message.body, headers=headers)

    def approves(self, answer: Answer) -> bool:
        """Whether an answer to a request lets the purchase happen."""
        assert answer.status == 200, answer
        if self.network == "lithic":
            return bool(answer.document["result"] == "APPROVED")
        return bool(answer.document["approved"])

    def purchase(self, amount_minor: int = 1000) -> Purchase:
        """Return a purchase with the card that the tenant's policies allow."""
        return Purchase(card=self.card, amount_minor=amount_minor, currency="CAD", merchant="AWS", category="7372")

    def authorization(self, chance: random.Random, amount_minor: int = 1000) -> Authorization:
        """Return an authorization of which nothing was said yet."""
        return AUTHORIZATIONS[self.network](self.purchase(amount_minor), Names(chance), now_us)


def now_us() -> int:
    """Return the present in microseconds."""
    return time.time_ns() // 1_000


def open_account(client: Client, acme: Acme, network: Network, card: str, secret: str | None = None) -> CardAccount:
    """Register a program and a card of the agent."""
    secret = secret or SECRETS[network]
    body = {"network": network, "name": f"cards of {network}", "secret": secret}
    program = client.ok("POST", "/v1/treasury/card-programs", body, token=acme.key)
    return CardAccount(network, program["program_id"], secret, open_card(client, acme, network, card), card)


def open_card(client: Client, acme: Acme, network: Network, card: str) -> str:
    """Register a card of the agent and return its id."""
    body = {"identity_id": acme.agent, "currency": "CAD", "external_ref": {"network": network, "id": card}}
    return str(client.ok("POST", "/v1/treasury/cards", body, token=acme.key)["card_id"])


def course_named(name: str) -> Course:
    """Return a course of the simulation."""
    return next(course for course in COURSES if course.name == name)


def play_at(
    client: Client,
    account: CardAccount,
    course: Course,
    chance: random.Random,
    amount_minor: int = 1000,
    told: Callable[[Message], None] | None = None,
) -> list[Message]:
    """Play a course: requests are sent and decided; what is only told is sent too, or given to ``told``."""
    said: list[Message] = []
    playing = play(course, account.authorization(chance, amount_minor), amount_minor)
    message = next(playing)
    while True:
        said.append(message)
        approved = False
        if message.is_request:
            approved = account.approves(account.send(client, message))
        elif told is not None:
            told(message)
        else:
            assert account.send(client, message).status == 200, message
        try:
            message = playing.send(approved)
        except StopIteration:
            return said


class Usage(NamedTuple):
    """What is used of a budget."""

    settled: Decimal
    reserved: Decimal


def used(settled: object, reserved: object = 0) -> Usage:
    """Return such as ``used("7.50", 10)``."""
    return Usage(Decimal(str(settled)), Decimal(str(reserved)))


def usage(client: Client, acme: Acme) -> list[Usage]:
    """Return what is used of each budget of the tenant, in the order in which they were made."""
    budgets = client.ok("GET", "/v1/budgets?limit=200", token=acme.key)["data"]
    return [used(each["usage"]["settled"], each["usage"]["reserved"]) for each in budgets]


def outcomes(client: Client, account: CardAccount, messages: Iterable[Message]) -> Sequence[str]:
    """Send what is told and return what the server says became of each."""
    return [str(account.send(client, each).document["outcome"]) for each in messages]
