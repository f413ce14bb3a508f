"""What holds at the door of every card network: who is believed, what is too long, and that each fault declines."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from sidecar.app.logs import mask_secrets
from sidecar.app.sources import AscendingIds
from sidecar.core.access import Caller
from sidecar.core.card_events import CardProgram, Swipe
from sidecar.core.errors import StoreUnusable, Unauthenticated, Unavailable
from sidecar.doors.card_network.calls import ANSWER_SECONDS_MAX, APART_BYTES, BODY_BYTES_MAX, CardNetworkCalls
from sidecar.doors.card_network.manner import MANNER
from sidecar.doors.card_network.stripe import Stripe
from sidecar.doors.wire.endpoint import Ask
from sidecar.doors.wire.http import Answer as Sent
from sidecar.service.authorize import Authorizer
from sidecar.service.card_network import Asked, CardNetwork
from sidecar.service.card_programs import ProgramDesk
from sidecar.service.snapshots import Snapshots
from tests.doors.door import Door, House, build, named
from tests.doors.networks import (
    LITHIC_SECRET,
    NOON,
    STRIPE_SECRET,
    Headers,
    Networks,
    approval_request,
    authorization,
    head,
    history,
    lithic_transaction,
    standard_headers,
    stripe_event,
    stripe_headers,
    transaction,
)
from tests.process.server import Answer

ASKED = json.dumps(stripe_event("issuing_authorization.request", authorization())).encode()
STREAMED = json.dumps(approval_request()).encode()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Networks]:
    """A tenant for tests that change nothing."""
    with Door(tmp_path_factory.mktemp("steady")) as door:
        yield Networks(build(door))


@pytest.fixture
def networks(tmp_path: Path) -> Iterator[Networks]:
    """A tenant with programs and cards, and an application of its own."""
    with Door(tmp_path) as door:
        yield Networks(build(door))


STRIPE_SIGNED, STANDARD = stripe_headers(ASKED), standard_headers(STREAMED)
REFUSED: dict[str, tuple[str, bytes, Headers]] = {
    "stripe: no signature": ("stripe", ASKED, []),
    "stripe: a bearer token": ("stripe", ASKED, [("Authorization", f"Bearer {STRIPE_SECRET}")]),
    "stripe: another secret": ("stripe", ASKED, stripe_headers(ASKED, "whsec_of_somebody_else")),
    "stripe: the secret of lithic": ("stripe", ASKED, stripe_headers(ASKED, LITHIC_SECRET)),
    "stripe: old": ("stripe", ASKED, stripe_headers(ASKED, at=NOON - 301)),
    "stripe: to come": ("stripe", ASKED, stripe_headers(ASKED, at=NOON + 301)),
    "stripe: doubled": ("stripe", ASKED, [*STRIPE_SIGNED, *STRIPE_SIGNED]),
    "stripe: not ASCII": ("stripe", ASKED, [("Stripe-Signature", "t=1,v1=é".encode())]),
    "stripe: of another body": ("stripe", ASKED + b" ", STRIPE_SIGNED),
    "stripe: as lithic signs": ("stripe", STREAMED, STANDARD),
    "lithic: no signature": ("lithic", STREAMED, []),
    "lithic: another secret": ("lithic", STREAMED, standard_headers(STREAMED, f"whsec_{'A' * 32}")),
    "lithic: old": ("lithic", STREAMED, standard_headers(STREAMED, at=NOON - 301)),
    "lithic: doubled": ("lithic", STREAMED, [*STANDARD, STANDARD[2]]),
    "lithic: another id": ("lithic", STREAMED, [("webhook-id", "msg_2"), *STANDARD[1:]]),
    "lithic: as stripe signs": ("lithic", STREAMED, stripe_headers(STREAMED)),
    "no program of this id": ("stripe/cprg_01K9Z3J4M5N6P7Q8R9S0T1V2W3", ASKED, STRIPE_SIGNED),
    "a long body of nobody's": ("stripe", b" " * (APART_BYTES + 1), STRIPE_SIGNED),
}


@pytest.mark.parametrize(("path", "body", "headers"), named(REFUSED))
def test_a_message_that_no_program_has_signed_is_refused(
    steady: Networks, path: str, body: bytes, headers: Headers
) -> None:
    before, used = steady.house.state(), steady.used()
    answer = steady.post(path, body, headers)
    assert answer.status == 401, answer
    assert set(answer.document) == {"error", "type", "request_id"}
    assert answer.document["type"] == "unauthenticated"
    assert answer.headers["www-authenticate"] == "Signature"
    assert (steady.house.state(), steady.used()) == (before, used)


@pytest.mark.parametrize("length", [BODY_BYTES_MAX + 1, 1 << 20])
@pytest.mark.parametrize("path", ["stripe", "lithic"])
def test_a_body_that_is_too_long_is_not_looked_at(steady: Networks, path: str, length: int) -> None:
    body = b" " * length
    answer = steady.post(path, body, stripe_headers(body) if path == "stripe" else standard_headers(body))
    assert (answer.status, answer.document["type"]) == (413, "too_large")


def test_a_long_body_that_is_signed_is_taken(networks: Networks) -> None:
    event = stripe_event("issuing_authorization.request", authorization(padding="x" * (BODY_BYTES_MAX - 2_000)))
    assert networks.stripe(event).document["approved"] is True


def test_long_bodies_of_nobody_are_checked_one_after_the_other(
    steady: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may send them, and threads that hash at once keep the swipes of others waiting."""
    door, at_once, most = steady.house.door, 0, 0
    body = b" " * (APART_BYTES + 1)
    desk = ProgramDesk(door.store, lambda prefix, _now_us: f"{prefix}_1")
    ask = Ask(Caller("agent"), door.clock.now_us, {}, {}, None, body, None, "", "", head(*STRIPE_SIGNED))

    async def hash_it(*_: object) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        raise Unauthenticated("nobody's")

    async def play() -> list[object]:
        calls = CardNetworkCalls(Stripe(), desk, Slow(door))
        return await asyncio.gather(*(calls.hear(ask) for _ in range(5)), return_exceptions=True)

    monkeypatch.setattr("sidecar.doors.card_network.calls.run_in_threadpool", hash_it)
    assert {type(each) for each in door.run(play())} == {Unauthenticated}
    assert most == 1


def test_only_post_is_taken_and_an_unknown_network_is_none(steady: Networks) -> None:
    door = steady.house.door
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = door.call(method, "/card-network/stripe", token=None)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert set(answer.document) == {"error", "type", "request_id"}
    for path in ("", "/", "/visa", "/stripe/a/b"):
        answer = door.call("POST", f"/card-network{path}", b"", token=None)
        assert (answer.status, answer.document["type"]) == (404, "not_found")


def test_what_a_message_is_declared_as_does_not_matter_nor_its_query(networks: Networks) -> None:
    headers: Headers = [*STRIPE_SIGNED, ("Content-Type", "text/plain"), ("Authorization", "Bearer x")]
    assert networks.post("stripe?a=1&a=2", ASKED, headers).document["approved"] is True


def test_a_program_of_its_own_path_is_the_only_one_there(networks: Networks) -> None:
    neighbour = build(networks.house.door, "Other Co")
    body = {"network": "stripe", "name": "theirs", "secret": "whsec_of_the_neighbour"}
    theirs = neighbour.ok("POST", "/v1/treasury/card-programs", body)["program_id"]
    own = networks.programs["stripe"]
    assert networks.post(f"stripe/{theirs}", ASKED, STRIPE_SIGNED).status == 401
    assert networks.post(f"lithic/{own}", ASKED, STRIPE_SIGNED).status == 401
    assert networks.post(f"stripe/{own}", ASKED, STRIPE_SIGNED).document["approved"] is True
    answer = networks.post("stripe", ASKED, stripe_headers(ASKED, "whsec_of_the_neighbour"))
    assert answer.document["metadata"]["reason"] == "unknown_card"


def test_a_replaced_secret_is_good_until_its_grace_time_ends(networks: Networks) -> None:
    path = f"/v1/treasury/card-programs/{networks.programs['stripe']}"
    fresh = "whsec_the_next_one_1"
    networks.house.ok("POST", f"{path}/rotate", {"secret": fresh, "grace_seconds": 60})
    clock = networks.house.door.clock

    def status(secret: str) -> int:
        return networks.post("stripe", ASKED, stripe_headers(ASKED, secret, clock.now_us // 1_000_000)).status

    assert (status(STRIPE_SECRET), status(fresh)) == (200, 200)
    clock.now_us += 59_999_999
    assert (status(STRIPE_SECRET), status(fresh)) == (200, 200)
    clock.now_us += 1
    assert (status(STRIPE_SECRET), status(fresh)) == (401, 200)
    networks.house.door.call("DELETE", path, token=networks.house.key)
    assert status(fresh) == 401


FAULTS: dict[str, tuple[Callable[[], Exception], str]] = {
    "the store is full": (lambda: Unavailable("no room is left"), "unavailable"),
    "the store broke": (lambda: StoreUnusable("a page is gone"), "unavailable"),
    "a mistake of ours": (lambda: ValueError("whoops"), "internal"),
}


@pytest.mark.parametrize(("make", "reason"), named(FAULTS))
def test_a_request_is_declined_whatever_goes_wrong(
    steady: Networks, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Exception], reason: str
) -> None:
    async def fail(*_: object) -> None:
        raise make()

    monkeypatch.setattr(CardNetwork, "ask", fail)
    answer = steady.post("stripe", ASKED, STRIPE_SIGNED)
    assert (answer.status, answer.document["approved"]) == (200, False)
    assert answer.document["metadata"]["reason"] == reason
    assert "whoops" not in repr(answer)
    answer = steady.post("lithic", STREAMED, STANDARD)
    assert (answer.status, answer.document["result"]) == (200, reason.upper())


def test_what_is_told_and_cannot_be_taken_in_is_refused_so_that_it_is_told_again(
    steady: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("no room is left")

    monkeypatch.setattr(CardNetwork, "tell", fail)
    answers: list[Answer] = [
        steady.stripe(stripe_event("issuing_transaction.created", transaction(-5))),
        steady.lithic(lithic_transaction(5)),
    ]
    for answer in answers:
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert answer.document["type"] == "unavailable"


@pytest.mark.parametrize("network", ["stripe", "lithic"])
def test_what_is_told_and_cannot_be_read_at_all_is_refused_so_that_it_is_told_again(
    steady: Networks, network: str
) -> None:
    """A decline is a 200, with which the network would take the capture for taken in; what may be a request has one."""
    before = steady.house.state()
    told = {
        "stripe": stripe_event("issuing_transaction.created", transaction(-5)),
        "lithic": lithic_transaction(5),
    }[network]
    torn = json.dumps(told).encode()[:-1]
    sends = steady.stripe if network == "stripe" else steady.lithic
    answer = sends(torn)
    assert (answer.status, answer.document["type"]) == (400, "invalid_json")
    asked = (ASKED if network == "stripe" else STREAMED)[:-1]
    both = asked + json.dumps(told).encode()
    for body in (asked, both, b"{"):
        assert (sends(body).status, sends(body).headers["x-decision-reason"]) == (200, "invalid_json")
    assert steady.house.state() == before


class Slow(CardNetwork):
    """Decides when it is told to."""

    def __init__(self, door: Door) -> None:
        """Wait."""
        authorizer = Authorizer(door.store, Snapshots(), lambda prefix, _now_us: f"{prefix}_1")
        super().__init__(door.store, authorizer, Snapshots(), lambda prefix, _now_us: f"{prefix}_1")
        self.go = asyncio.Event()
        self.ended: list[str] = []
        self.fails = False

    async def ask(self, *_: object) -> Asked:
        """Wait, and end in some way."""
        await self.go.wait()
        self.ended.append("decided")
        if self.fails:
            raise Unavailable("too late anyway")
        return cast("Asked", object())  # nobody looks at it any more


@pytest.mark.parametrize("fails", [False, True])
def test_a_decision_that_comes_too_late_is_a_decline_and_goes_on(
    networks: Networks, capsys: pytest.CaptureFixture[str], *, fails: bool
) -> None:
    """It may be on its way to the disk, and what is half done must not stay so."""
    assert ANSWER_SECONDS_MAX < 2
    door = networks.house.door
    desk = ProgramDesk(door.store, lambda prefix, _now_us: f"{prefix}_1")
    ask = Ask(Caller("agent"), door.clock.now_us, {}, {}, None, ASKED, None, "", "", head(*STRIPE_SIGNED))

    async def play() -> tuple[Sent, list[str], list[str]]:
        slow = Slow(door)
        slow.fails = fails
        calls = CardNetworkCalls(Stripe(), desk, slow, answer_seconds_max=0.01)
        answer = await calls.hear(ask)
        before = list(slow.ended)
        slow.go.set()
        await asyncio.gather(*calls._late, return_exceptions=True)  # noqa: SLF001 -- nothing else has them
        assert calls._late == set()  # noqa: SLF001
        return answer, before, slow.ended

    answer, before, after = door.run(play())
    assert json.loads(answer.body)["approved"] is False
    assert json.loads(answer.body)["metadata"]["reason"] == "too_late"
    assert (before, after) == ([], ["decided"])
    assert fails == ("too late anyway" in capsys.readouterr().out)


class Delayed(CardNetwork):
    """Decides as usual, once it is told to."""

    go: asyncio.Event

    async def ask(self, tenant_id: str, program: CardProgram, swipe: Swipe, now_us: int) -> Asked:
        """Wait, and decide."""
        await self.go.wait()
        return await super().ask(tenant_id, program, swipe, now_us)


def test_what_was_decided_too_late_is_the_answer_of_a_repetition_and_freed_by_the_networks_word(
    networks: Networks,
) -> None:
    door, new_id = networks.house.door, AscendingIds()
    authorizer = Authorizer(door.store, Snapshots(), new_id)
    desk = ProgramDesk(door.store, new_id)
    ask = Ask(Caller("agent"), door.clock.now_us, {}, {}, None, ASKED, None, "", "", head(*STRIPE_SIGNED))

    async def play() -> Sent:
        delayed = Delayed(door.store, authorizer, Snapshots(), new_id)
        delayed.go = asyncio.Event()
        calls = CardNetworkCalls(Stripe(), desk, delayed, answer_seconds_max=0.01)
        answer = await calls.hear(ask)
        delayed.go.set()
        await asyncio.gather(*calls._late)  # noqa: SLF001 -- nothing else has them
        return answer

    assert json.loads(door.run(play()).body)["metadata"]["reason"] == "too_late"
    assert networks.used() == (10, 0)
    assert networks.post("stripe", ASKED, STRIPE_SIGNED).document["approved"] is True
    assert networks.used() == (10, 0)
    declined = authorization(status="closed", pending_request=None, request_history=history((1_000, False)))
    assert networks.stripe(stripe_event("issuing_authorization.created", declined, "evt_2")).status == 200
    assert networks.used() == (0, 0)


def test_no_secret_is_in_an_answer_or_a_record(networks: Networks) -> None:
    house = networks.house
    networks.post("stripe", ASKED, STRIPE_SIGNED)
    networks.post("lithic", STREAMED, STANDARD)
    body = {"secret": "whsec_the_next_one_1"}
    house.ok("POST", f"/v1/treasury/card-programs/{networks.programs['stripe']}/rotate", body)
    shown = [
        house.call("GET", path).body
        for path in ("/v1/audit?limit=200", "/v1/treasury/card-programs", "/v1/treasury/cards")
    ]
    shown.append(house.door.call("GET", "/metrics", token=None).body)
    secrets = (STRIPE_SECRET, LITHIC_SECRET, "whsec_the_next_one_1")
    assert [secret for secret in secrets for text in shown if secret.removeprefix("whsec_").encode() in text] == []


@pytest.mark.parametrize("secret", [STRIPE_SECRET, LITHIC_SECRET, "whsec_a-b.c:d!e"])
def test_no_secret_of_a_program_is_in_a_log(secret: str) -> None:
    """Whatever text it got into: Stripe's have any printable sign."""
    assert mask_secrets(None, "info", {"reason": f"is `{secret}`, twice"}) == {"reason": "is `whsec_…`, twice"}


def test_the_doors_have_the_manner_of_card_networks_and_no_description(house: House) -> None:
    described = house.door.contract.description["paths"]
    assert [path for path in described if path.startswith("/card-network")] == []
    with pytest.raises(Exception, match="messages of card networks are signed"):
        MANNER.credentials(head())
