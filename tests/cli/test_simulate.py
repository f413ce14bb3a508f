"""``sidecar simulate`` against a server of the test: what it sends, what it prints, and how it ends."""

import json
from collections import Counter
from collections.abc import Callable

import httpx
import pytest
import stripe

from sidecar.cli import simulate
from sidecar.cli.simulations.courses import COURSES
from tests.cli.terminal import Terminal

SECRET = "whsec_test_secret"
LITHIC_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KNOWN = ("--secret", SECRET, "--card", "ic_1")


class FakeServer:
    """Answers as a server should, or as ``misbehaves`` says; keeps what was asked."""

    def __init__(self) -> None:
        """Approve every card that it knows."""
        self.asked: list[httpx.Request] = []
        self.misbehaves: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer as a transport does."""
        self.asked.append(request)
        wrong = self.misbehaves(request)
        if wrong is not None:
            return wrong
        body = json.loads(request.content)
        if body.get("event_type") == "card_authorization.approval_request":
            return httpx.Response(200, json={"token": body["token"], "result": "APPROVED"})
        if body.get("type") != "issuing_authorization.request":
            return httpx.Response(200, json={})
        is_known = body["data"]["object"]["card"]["id"] == "ic_1"
        answer = {"approved": is_known, "metadata": {"decision_id": "dec_1"}}
        return httpx.Response(200, json=answer, headers={"Stripe-Version": "2025-03-31.basil"})

    @property
    def types(self) -> list[str]:
        """What the events that came were."""
        bodies = [json.loads(each.content) for each in self.asked]
        return [body.get("type") or body["event_type"] for body in bodies]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    """The server that is there, whatever address is called."""
    fake, real = FakeServer(), httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: real(transport=httpx.MockTransport(fake), **given))
    monkeypatch.delenv(simulate.SECRET_VARIABLE, raising=False)
    return fake


def test_the_help_lists_the_keys_line_by_line(terminal: Terminal) -> None:
    ended = terminal("simulate", "--help")
    assert "\n  JSON keys, stable once released:\n    sent, wrong  how many messages" in ended.out
    assert "\\b" not in ended.out


def test_a_purchase_is_asked_created_and_captured(terminal: Terminal, server: FakeServer) -> None:
    ended = terminal("simulate", "stripe", *KNOWN, "--url", "http://127.0.0.1:9/")
    assert ended.code == 0, ended.out + ended.err
    assert server.types == [
        "issuing_authorization.request",
        "issuing_authorization.created",
        "issuing_transaction.created",
        "issuing_authorization.updated",
    ]
    assert {str(each.url) for each in server.asked} == {"http://127.0.0.1:9/card-network/stripe"}
    for each in server.asked:
        stripe.Webhook.construct_event(each.content, each.headers["stripe-signature"], SECRET)
    assert "4 messages, 4 answered as the protocol says, 0 not" in ended.out
    assert "47.23 CAD" in ended.out
    assert 'approved {"approved":true' in ended.out


def test_the_secret_is_taken_from_the_environment_and_never_printed(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(simulate.SECRET_VARIABLE, LITHIC_SECRET)
    ended = terminal("simulate", "lithic", "--card", "c", "--bodies")
    assert ended.code == 0
    assert LITHIC_SECRET.removeprefix("whsec_") not in ended.out + ended.err
    assert '"event_type":"card_authorization.approval_request"' in ended.out


def test_a_program_has_an_address_of_its_own(terminal: Terminal, server: FakeServer) -> None:
    terminal("simulate", "stripe", *KNOWN, "--program", "cprg_1")
    assert server.asked[0].url.path == "/card-network/stripe/cprg_1"


@pytest.mark.parametrize(("network", "secret"), [("stripe", SECRET), ("lithic", LITHIC_SECRET)])
def test_every_sequence_can_be_fired_at_once(terminal: Terminal, network: str, secret: str) -> None:
    ended = terminal("simulate", network, "--secret", secret, "--card", "ic_1", "--sequence", "all", "--format", "json")
    told = json.loads(ended.out)
    assert {each["sequence"] for each in told["messages"]} == {course.name for course in COURSES}
    if network == "stripe":
        assert (ended.code, told["wrong"]) == (0, 0)
    else:  # this server approves any card of `lithic`
        assert [each["fault"] for each in told["messages"] if each["fault"]] == ["approved a card that it cannot know"]
        assert ended.code == 1


def test_random_sequences_are_those_of_the_seed(terminal: Terminal) -> None:
    arguments = ("simulate", "stripe", *KNOWN, "--sequence", "random", "--count", 5, "--format", "json")
    one, again, other = (json.loads(terminal(*arguments, "--seed", seed).out)["messages"] for seed in (7, 7, 8))
    assert [each["event_id"] for each in one] == [each["event_id"] for each in again]
    assert [each["event_id"] for each in one] != [each["event_id"] for each in other]


def test_shuffled_events_come_after_all_requests_in_another_order(terminal: Terminal, server: FakeServer) -> None:
    arguments = ("simulate", "stripe", *KNOWN, "--sequence", "shipments", "--count", 3, "--seed", 1)
    terminal(*arguments)
    straight, server.asked = server.types, []
    terminal(*arguments, "--shuffle")
    assert Counter(server.types) == Counter(straight)
    assert server.types[:3] == ["issuing_authorization.request"] * 3
    assert server.types[3:] != [each for each in straight if each != "issuing_authorization.request"]


@pytest.mark.parametrize("also", [(), ("--shuffle",)])
def test_duplicates_send_the_same_bytes_twice(terminal: Terminal, server: FakeServer, also: tuple[str, ...]) -> None:
    ended = terminal("simulate", "stripe", *KNOWN, "--duplicate", *also, "--format", "json")
    assert set(Counter(each.content for each in server.asked).values()) == {2}
    messages = json.loads(ended.out)["messages"]
    first: set[str] = set()
    for each in messages:
        assert each["repeated"] is (each["event_id"] in first)
        first.add(each["event_id"])


def test_a_repeated_request_must_have_the_first_answer(terminal: Terminal, server: FakeServer) -> None:
    version = {"Stripe-Version": "2025-03-31.basil"}
    answers = iter([True, False])
    server.misbehaves = lambda request: (
        httpx.Response(200, json={"approved": next(answers)}, headers=version)
        if b"authorization.request" in request.content
        else None
    )
    ended = terminal("simulate", "stripe", *KNOWN, "--duplicate")
    assert ended.code == 1
    assert "WRONG: 200 the repeated request was answered otherwise" in ended.out


@pytest.mark.parametrize(
    ("network", "answer", "fault"),
    [
        ("stripe", httpx.Response(401, json={"error": "no"}), "status 401, expected 200"),
        ("stripe", httpx.Response(307, headers={"Location": "/elsewhere"}), "status 307, expected 200"),
        ("stripe", httpx.Response(200, json={"approved": True}), "the header `Stripe-Version` is missing"),
        ("stripe", httpx.Response(200, text="yes"), "the answer is no JSON"),
        ("stripe", httpx.Response(200, json=[]), "the answer is no JSON object"),
        (
            "stripe",
            httpx.Response(200, json={"approved": "yes"}, headers={"Stripe-Version": "1"}),
            "`approved` is neither true nor false",
        ),
        (
            "stripe",
            httpx.Response(200, json={"approved": False, "metadata": {"n": 1}}, headers={"Stripe-Version": "1"}),
            "`metadata` is no object of texts",
        ),
        ("lithic", httpx.Response(200, json={"result": "APPROVED"}), "`token` is not the one of the request"),
        ("lithic", None, "`result` is missing"),
    ],
)
def test_a_wrong_answer_to_a_request_is_named(
    terminal: Terminal, server: FakeServer, network: str, answer: httpx.Response | None, fault: str
) -> None:
    server.misbehaves = lambda request: (
        answer or httpx.Response(200, json={"token": json.loads(request.content)["token"]})
    )
    secret = SECRET if network == "stripe" else LITHIC_SECRET
    ended = terminal("simulate", network, "--secret", secret, "--card", "ic_1", "--format", "json")
    assert ended.code == 1
    assert json.loads(ended.out)["messages"][0]["fault"] == fault


def test_an_event_that_is_not_taken_is_named(terminal: Terminal, server: FakeServer) -> None:
    server.misbehaves = lambda _: httpx.Response(503)
    ended = terminal("simulate", "stripe", *KNOWN, "--sequence", "forced")
    assert (ended.code, "WRONG: 503 status 503, expected 2xx" in ended.out) == (1, True)


@pytest.mark.parametrize(
    ("error", "fault"),
    [(httpx.ReadTimeout("late"), "no answer within 2 s"), (httpx.ConnectError("refused"), "no answer: refused")],
)
def test_a_server_that_does_not_answer_is_named(
    terminal: Terminal, server: FakeServer, error: Exception, fault: str
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    server.misbehaves = fail
    ended = terminal("simulate", "stripe", *KNOWN)
    assert (ended.code, f"WRONG: {fault}" in ended.out) == (1, True)


def test_a_decline_is_an_answer_too(terminal: Terminal, server: FakeServer) -> None:
    ended = terminal("simulate", "stripe", *KNOWN, "--sequence", "unknown-card")
    assert ended.code == 0
    assert "declined" in ended.out
    assert server.types == ["issuing_authorization.request", "issuing_authorization.created"]


def test_the_sequences_are_listed(terminal: Terminal, server: FakeServer) -> None:
    ended = terminal("simulate", "stripe", "--list")
    assert [line.split()[0] for line in ended.out.splitlines()] == [course.name for course in COURSES]
    assert server.asked == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("stripe", "--card", "ic_1"), "`--secret` is missing"),
        (("stripe", "--secret", SECRET), "`--card` is missing"),
        (("visa",), "is not one of"),
        (("stripe", "--secret", "sk_live_1", "--card", "c"), "a secret of stripe is `whsec_`"),
        (("lithic", "--secret", SECRET, "--card", "c"), "a secret of lithic is `whsec_`"),
        (("stripe", *KNOWN, "--amount", "1.234"), "3 decimal places"),
        (("stripe", *KNOWN, "--amount", "lots"), "not an amount"),
        (("stripe", *KNOWN, "--amount", "0"), "expected more than zero"),
        (("stripe", *KNOWN, "--currency", "XXX1"), "currency"),
        (("stripe", *KNOWN, "--url", "ftp://x"), "not the address of a server"),
        (("stripe", *KNOWN, "--url", "http://user@x"), "not the address of a server"),
        (("stripe", *KNOWN, "--url", "http://x:99999"), "not the address of a server"),
        (("stripe", *KNOWN, "--program", "../x"), "not the id of a card program"),
        (("stripe", *KNOWN, "--sequence", "none"), "is not one of"),
        (("stripe", *KNOWN, "--count", "0"), "0 is not in the range"),
    ],
)
def test_wrong_usage_sends_nothing(
    terminal: Terminal, server: FakeServer, words: tuple[str, ...], complaint: str
) -> None:
    ended = terminal("simulate", *words)
    assert (ended.code, server.asked) == (2, [])
    assert complaint in ended.err
