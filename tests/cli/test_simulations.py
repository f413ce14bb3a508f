"""What a simulation says is what the networks' own libraries read: signed right, and with the fields of the real ones.

``stripe``, ``lithic`` and ``standardwebhooks`` are the networks' side here; nothing of the server is asked.
"""

import random
import time
import typing
from collections.abc import Callable, Iterator

import lithic
import msgspec
import pytest
import standardwebhooks
import stripe
from lithic.types import (
    CardAuthorizationApprovalRequestWebhookEvent,
    CardTransactionUpdatedWebhookEvent,
)

from sidecar.cli.simulations.courses import COURSES, Act, Course, Step, play
from sidecar.cli.simulations.firing import AUTHORIZATIONS
from sidecar.cli.simulations.purchase import Authorization, Message, Names, Purchase
from sidecar.cli.simulations.signing import sign
from sidecar.core.card_events import Network

NOW_SECONDS = 1_700_000_000
STRIPE_SECRET = "whsec_test_secret"
LITHIC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BOUGHT = Purchase(card="ic_1", amount_minor=4723, currency="CAD", merchant="AWS", category="7372")
NETWORKS: tuple[Network, ...] = ("stripe", "lithic")

MAY_BE_ABSENT = frozenset(
    {
        "OBJECT_NAME",
        "cvc",
        "latest_fraud_warning",
        "lifecycle_controls",
        "number",
        "pin",
        "purchase_details",
        "treasury",
    }
)
"""What the library declares and the API leaves out of an object where nobody asked for it."""

Document = dict[str, typing.Any]


def authorization_at(network: Network, seed: int = 1) -> Authorization:
    return AUTHORIZATIONS[network](BOUGHT, Names(random.Random(seed)), lambda: NOW_SECONDS * 1_000_000)


def played(
    network: Network, course: Course, decide: Callable[[Message], bool] = lambda _: True, seed: int = 1
) -> list[Message]:
    """Play a course to its end, answering each request with ``decide``."""
    return play_out(play(course, authorization_at(network, seed), BOUGHT.amount_minor), decide)


def play_out(
    playing: typing.Generator[Message, bool, None], decide: Callable[[Message], bool] = lambda _: True
) -> list[Message]:
    said: list[Message] = []
    message = next(playing)
    try:
        while True:
            said.append(message)
            message = playing.send(decide(message))
    except StopIteration:
        return said


def course_named(name: str) -> Course:
    return next(course for course in COURSES if course.name == name)


def documents(messages: list[Message]) -> Iterator[Document]:
    """Yield the object that each message is about."""
    for message in messages:
        body = msgspec.json.decode(message.body)
        yield body["data"]["object"] if body.get("object") == "event" else body


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
@pytest.mark.parametrize("approves", [True, False])
def test_stripe_reads_each_event_as_its_own(course: Course, *, approves: bool) -> None:
    """Every field that the library declares for the objects is there, none that it does not know, whatever happens."""
    for message in played("stripe", course, lambda _: approves):
        headers = sign("stripe", STRIPE_SECRET, message, NOW_SECONDS)
        event = stripe.Webhook.construct_event(
            message.body, headers["Stripe-Signature"], STRIPE_SECRET, tolerance=10_000_000_000
        )
        assert (event.id, event.type) == (message.event_id, message.type)
        found = event.data.object
        kind = {
            "issuing.authorization": stripe.issuing.Authorization,
            "issuing.transaction": stripe.issuing.Transaction,
            "issuing.card": stripe.issuing.Card,
        }[found["object"]]
        assert isinstance(found, kind)
        said = next(documents([message]))
        assert set(kind.__annotations__) - MAY_BE_ABSENT - set(said) == set()
        assert set(said) - set(kind.__annotations__) == set()


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
@pytest.mark.parametrize("approves", [True, False])
def test_lithic_reads_each_event_as_its_own(course: Course, *, approves: bool) -> None:
    """The strict types of the library take each event, and `standardwebhooks` its signature."""
    types: dict[str, typing.Any] = {
        "card_authorization.approval_request": CardAuthorizationApprovalRequestWebhookEvent,
        "card_transaction.updated": CardTransactionUpdatedWebhookEvent,
    }
    client = lithic.Lithic(api_key="unused", webhook_secret=LITHIC_SECRET)
    for message in played("lithic", course, lambda _: approves):
        headers = sign("lithic", LITHIC_SECRET, message, int(time.time()))  # the library reads the clock
        assert standardwebhooks.Webhook(LITHIC_SECRET).verify(message.body, headers)
        parsed = client.webhooks.parse(message.body.decode(), headers=headers)
        if message.type in types:
            document = msgspec.json.decode(message.body)
            assert types[message.type].model_validate(document).event_type == message.type
            assert isinstance(parsed, types[message.type])


def test_a_stripe_signature_is_the_one_of_the_documented_vector() -> None:
    body = b'{"id":"evt_1","type":"issuing_authorization.request"}'
    message = Message(event_id="evt_1", type="issuing_authorization.request", body=body, amount_minor=0)
    expected = "t=1700000000,v1=a78ff1e19e663aac6bd62d7bf0d3c5f57605fa127f5ace7f75a23a376ed1ba3b"
    assert sign("stripe", STRIPE_SECRET, message, NOW_SECONDS)["Stripe-Signature"] == expected
    assert stripe.WebhookSignature.generate_signature_header(body.decode(), STRIPE_SECRET, NOW_SECONDS) == expected


def test_a_lithic_signature_is_the_one_of_standard_webhooks() -> None:
    message = Message(event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", type="x", body=b'{"test": 2432232314}', amount_minor=0)
    headers = sign("lithic", LITHIC_SECRET, message, 1_614_265_330)
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_stripe_tells_what_is_authorised_in_all_and_what_was_asked_one_by_one() -> None:
    *_, closed = documents(played("stripe", course_named("hotel")))
    assert closed["status"] == "closed"
    assert closed["amount"] == 4723 + 2361 + 1180
    assert [each["amount"] for each in closed["request_history"]] == [4723, 2361, 1180]
    assert [each["amount"] for each in closed["transactions"]] == [-(4723 + 2361 + 1180)]


def test_stripe_shows_what_it_rejected() -> None:
    _, created = documents(played("stripe", course_named("simple"), lambda _: False))
    assert (created["approved"], created["status"], created["amount"]) == (False, "closed", 4723)
    assert created["request_history"][0]["reason"] == "webhook_declined"


def test_a_declined_increment_leaves_what_was_authorised() -> None:
    """The hotel asks three times, the second is declined: what is captured is the other two."""
    answers = iter([True, False, True])
    said = played("stripe", course_named("hotel"), lambda message: message.is_request and next(answers))
    *_, closed = documents(said)
    assert closed["amount"] == 4723 + 1180
    assert [each["approved"] for each in closed["request_history"]] == [True, False, True]


def test_lithic_tells_what_is_still_on_hold() -> None:
    said = documents(played("lithic", course_named("shipments")))
    told = [(each["status"], each["amounts"]["hold"]["amount"]) for each in said if "events" in each]
    assert told == [("PENDING", 4723), ("PENDING", 3307), ("PENDING", 1891), ("SETTLED", 0)]


def test_lithic_asks_for_an_increment_under_the_same_token() -> None:
    asked = [each for each in documents(played("lithic", course_named("hotel"))) if "event_token" in each]
    assert len({each["token"] for each in asked}) == 1
    assert len({each["event_token"] for each in asked}) == len(asked) == 3


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.name)
def test_what_is_declined_is_never_captured(network: Network, course: Course) -> None:
    if any(step.act == "ask" for step in course.steps):
        said = played(network, course, lambda _: False)
        assert len(said) == 2
        assert not said[1].is_request


@pytest.mark.parametrize("network", NETWORKS)
def test_a_reversal_of_all_and_an_expiry_leave_nothing_open(network: Network) -> None:
    acts: tuple[Act, ...] = ("reverse", "expire")
    for act in acts:
        authorization = authorization_at(network)
        course = Course(name="c", tells="", steps=(Step("ask", 100), Step("capture", 40), Step(act)))
        play_out(play(course, authorization, 1000))
        assert (authorization.open_minor, authorization.captured_minor) == (0, 400)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_same_seed_names_things_alike_and_another_one_otherwise(network: Network) -> None:
    course = course_named("refund")
    once, again, other = (played(network, course, seed=seed) for seed in (1, 1, 2))
    assert once == again
    assert {each.event_id for each in once} & {each.event_id for each in other} == set()
