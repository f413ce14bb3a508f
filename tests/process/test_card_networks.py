"""Card networks at a real server: their libraries sign and read, secrets rotate, tenants stay apart, order is free."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import standardwebhooks
import stripe
from lithic.types import CardTransactionUpdatedWebhookEvent

from sidecar.cli.simulations.courses import COURSES, Course
from sidecar.cli.simulations.purchase import Message
from sidecar.core.card_events import Network
from tests.process.card_terminal import (
    NETWORKS,
    SECRETS,
    CardAccount,
    course_named,
    open_account,
    open_card,
    outcomes,
    play_at,
    usage,
    used,
)
from tests.process.server import Acme, Client, Server, check_at_rest, found_acme, run_sidecar

BUDGETS = (
    {"name": "month", "period": "monthly", "limit": 1_000_000},
    {"name": "all", "period": "total", "limit": 5000},
)
OTHER_SECRETS: dict[Network, str] = {
    "stripe": "whsec_another_secret_of_the_tests",
    "lithic": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
}
ORDERS = 4
"""Orders in which each course is told."""


class Scene:
    """One server for all tests of the module; each test has a tenant of its own."""

    def __init__(self, server: Server, client: Client) -> None:
        """Speak to ``server`` over ``client``."""
        self.server = server
        self.client = client
        self._made = 0

    def account(self, network: Network) -> tuple[Acme, CardAccount]:
        """Return a new tenant with a program and a card, which no other test's secret opens."""
        self._made += 1
        acme = found_acme(self.client, BUDGETS, name=f"Acme {self._made}")
        secret = SECRETS[network] if network == "stripe" else "whsec_" + f"{self._made:032x}"
        secret = f"{secret}_{self._made}" if network == "stripe" else secret
        return acme, open_account(self.client, acme, network, f"ic_{self._made}", secret)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("cards")
    with Server(folder) as server:
        with server.client() as client:
            yield Scene(server, client)
        assert server.stop() == 0
        check_at_rest(server.data_dir)


def ask(account: CardAccount, amount_minor: int = 1000, seed: int = 1) -> Message:
    return account.authorization(random.Random(seed), amount_minor).ask(amount_minor)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_swipe_draws_on_the_limits_of_native_calls(scene: Scene, network: Network) -> None:
    """What a swipe holds is missing for the agent's next call, and stays missing once it is captured."""
    acme, account = scene.account(network)
    told: list[Message] = []
    play_at(scene.client, account, course_named("tip"), random.Random(1), told=told.append)
    assert (
        scene.client.ok("POST", "/v1/authorize", acme.request(20), token=acme.key)["budget_checks"][0]["reserved"] == 10
    )
    assert outcomes(scene.client, account, told) == ["booked"] * len(told)
    assert usage(scene.client, acme) == [used(12, 20)] * 2


@pytest.mark.parametrize("network", NETWORKS)
def test_an_increment_is_on_hold_as_soon_as_it_is_approved(scene: Scene, network: Network) -> None:
    """Whether or not the network has told of the increment: nobody else may spend it in between."""
    acme, account = scene.account(network)
    authorization = account.authorization(random.Random(1))
    for amount_minor, reserved in ((1000, "10"), (500, "15"), (250, "17.50")):
        assert account.approves(account.send(scene.client, authorization.ask(amount_minor)))
        assert usage(scene.client, acme) == [used(0, reserved)] * 2
        assert outcomes(scene.client, account, authorization.answer(approved=True)) == ["booked"]
        assert usage(scene.client, acme) == [used(0, reserved)] * 2


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", range(ORDERS))
def test_any_order_and_repetition_of_events_ends_in_the_same_figures(scene: Scene, network: Network, seed: int) -> None:
    """A card's purchases of every kind at once; their events come shuffled, most of them twice or more."""
    acme, account = scene.account(network)
    chance, expected = random.Random(seed), 0
    told: list[Message] = []
    for course in COURSES:
        if not course.is_unknown:
            play_at(scene.client, account, course, chance, told=told.append)
            expected += settled_minor(course)
    told += chance.sample(told, len(told) // 2) + chance.sample(told, len(told) // 4)
    chance.shuffle(told)
    first: set[str] = set()
    for message, outcome in zip(told, outcomes(scene.client, account, told), strict=True):
        if message.event_id in first:
            assert outcome == "repeated"
        first.add(message.event_id)
    assert usage(scene.client, acme) == [used(Decimal(expected) / 100)] * 2


def settled_minor(course: Course) -> int:
    """What is spent in the end when 10.00 are bought: the simplest model, by hand."""
    by_hand = {
        "tip": 1200,
        "partial": 600,
        "hotel": 1750,
        "simple": 1000,
        "shipments": 1000,
        "late": 1000,
        "forced": 1000,
    }
    return by_hand.get(course.name, 0)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_repeated_request_has_its_first_answer_also_when_the_card_is_frozen(scene: Scene, network: Network) -> None:
    acme, account = scene.account(network)
    message = ask(account)
    first = account.send(scene.client, message)
    scene.client.ok("POST", f"/v1/treasury/cards/{account.card_id}/freeze", token=acme.key)
    again = account.send(scene.client, message)
    assert (again.status, again.body) == (first.status, first.body)
    assert account.approves(again)
    assert not account.approves(account.send(scene.client, ask(account, seed=2)))
    assert usage(scene.client, acme)[0] == used(0, 10)


@pytest.mark.parametrize("network", NETWORKS)
def test_two_tenants_share_an_address_and_nothing_else(scene: Scene, network: Network) -> None:
    """The secret says whose message it is: the other tenant's card of the same name is another card."""
    (one, its), (other, others) = scene.account(network), scene.account(network)
    open_card(scene.client, other, network, its.card)
    assert account_approves(scene.client, its, ask(its))
    assert (usage(scene.client, one)[0], usage(scene.client, other)[0]) == (used(0, 10), used(0))
    elsewhere = others._replace(card=its.card)
    assert account_approves(scene.client, elsewhere, ask(elsewhere, 700, seed=2))
    assert (usage(scene.client, one)[0], usage(scene.client, other)[0]) == (used(0, 10), used(0, 7))
    body, headers = ask(its, seed=3), its.sign(ask(its, seed=3))
    path = f"/card-network/{network}/{others.program_id}"
    assert scene.client.call("POST", path, body.body, headers=headers).status == 401


def account_approves(client: Client, account: CardAccount, message: Message) -> bool:
    return account.approves(account.send(client, message))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_rotated_secret_and_the_one_before_are_good_together(scene: Scene, network: Network) -> None:
    acme, account = scene.account(network)
    rotate, new = f"/v1/treasury/card-programs/{account.program_id}/rotate", OTHER_SECRETS[network]
    assert account.send(scene.client, ask(account), new).status == 401
    scene.client.ok("POST", rotate, {"secret": new, "grace_seconds": 3600}, token=acme.key)
    for seed, secret in enumerate((account.secret, new)):
        assert account.approves(account.send(scene.client, ask(account, seed=seed), secret))
    newest = f"{new}2" if network == "stripe" else new.replace("A", "B")
    scene.client.ok("POST", rotate, {"secret": newest, "grace_seconds": 0}, token=acme.key)
    assert account.send(scene.client, ask(account, seed=3), account.secret).status == 401
    assert account.send(scene.client, ask(account, seed=3), new).status == 401
    assert account.approves(account.send(scene.client, ask(account, seed=3), newest))


def test_what_stripes_library_signs_is_believed_and_its_classes_read_it(scene: Scene) -> None:
    """The header is the library's, the body was read by it and written again."""
    acme, account = scene.account("stripe")
    message = ask(account)
    secret = account.secret
    event: Any = stripe.Webhook.construct_event(message.body, account.sign(message)["Stripe-Signature"], secret)
    assert event.data.object.pending_request.amount == 1000
    body = str(event)
    header = stripe.WebhookSignature.generate_signature_header(body, secret)
    answer = scene.client.call("POST", "/card-network/stripe", body.encode(), headers={"Stripe-Signature": header})
    assert account.approves(answer)
    assert answer.headers["stripe-version"] == event.api_version
    assert answer.document["metadata"]["decision_id"].startswith("dec_")
    assert usage(scene.client, acme)[0] == used(0, 10)


def test_what_standard_webhooks_signs_is_believed_and_lithics_types_read_it(scene: Scene) -> None:
    acme, account = scene.account("lithic")
    told: list[Message] = []
    play_at(scene.client, account, course_named("simple"), random.Random(1), told=told.append)
    for message in told:
        parsed = CardTransactionUpdatedWebhookEvent.construct(**msgspec.json.decode(message.body))
        body = parsed.to_json(indent=None, exclude_unset=True)
        signed = account.sign(message)
        moment = signed["webhook-timestamp"]
        signature = standardwebhooks.Webhook(account.secret).sign(message.event_id, at(moment), body)
        headers = {"webhook-id": message.event_id, "webhook-timestamp": moment, "webhook-signature": signature}
        answer = scene.client.call("POST", "/card-network/lithic", body.encode(), headers=headers)
        assert answer.document == {"received": True, "outcome": "booked"}
    assert usage(scene.client, acme)[0] == used(10)


def at(timestamp: str) -> datetime:
    return datetime.fromtimestamp(int(timestamp), tz=UTC)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_simulation_finds_every_answer_as_the_protocol_says(scene: Scene, network: Network) -> None:
    acme, account = scene.account(network)
    words = ("--url", scene.server.url, "--card", account.card, "--amount", "10", "--sequence", "all", "--duplicate")
    environment = {"SIDECAR_SIMULATE_SECRET": account.secret}
    done = run_sidecar("simulate", network, *words, "--shuffle", "--seed", "1", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = sum(settled_minor(course) for course in COURSES)
    assert usage(scene.client, acme)[0] == used(Decimal(expected) / 100)
    wrong = run_sidecar("simulate", network, *words, environment={"SIDECAR_SIMULATE_SECRET": OTHER_SECRETS[network]})
    assert wrong.returncode == 1
    assert "WRONG: 401" in wrong.stdout
