"""What card networks ask and tell: decided once, booked whatever comes, never refused for the money."""

import pytest

from sidecar.core.errors import Conflict, IdempotencyConflict, NotFound, ValidationFailed
from sidecar.core.limits import BUDGETS_PER_CHAIN_MAX, RESERVATION_TTL_SECONDS_MAX
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.doors.native.render import reservation_of
from tests.service.builders import DAY, HOUR, OPERATOR, World, codes, limit, payment, shipped_files
from tests.service.histories import chronicle, prove
from tests.service.mailroom import Mailroom
from tests.service.terminal import PROGRAM, Terminal, capture, refund, standing


@pytest.fixture
def terminal(world: World) -> Terminal:
    """A card of `ann` in a tenant where everything is granted."""
    return Terminal(world)


def require_proof(world: World) -> None:
    """What the log tells must come out of it again."""
    proof = prove(chronicle(world))
    assert proof.difference is None, proof.difference.sentence


def test_a_swipe_is_decided_as_a_payment_is(terminal: Terminal, world: World) -> None:
    """The same chain, budgets and record; it is held for as long as captures can take to come."""
    budget = world.budget(limit("50", "ann")).budget.budget_id
    answered = terminal.ask(terminal.swipe(2_000))
    decision = answered.decision
    assert (decision.allowed, answered.repeated, decision.identity_id) == (True, False, "ann")
    assert decision.expires_at_us == world.now_us + RESERVATION_TTL_SECONDS_MAX * 1_000_000
    assert world.used(budget) == (0, 2_000)
    record = world.bodies()[-1]
    assert (record["type"], record["action"], record["token"]) == ("decision", "card.authorize", PROGRAM.program_id)
    assert codes(terminal.ask(terminal.swipe(4_000, 1)).decision) == ["budget_exceeded"]
    require_proof(world)


def test_the_same_request_has_the_same_answer(terminal: Terminal, world: World) -> None:
    """Also where the identity was revoked meanwhile: the network may have acted on the first answer."""
    first = terminal.ask(terminal.swipe(2_000))
    world.revoke("ann")
    again = terminal.ask(terminal.swipe(2_000))
    assert again.repeated
    assert again.decision == first.decision
    assert world.kinds().count("decision") == 1
    with pytest.raises(IdempotencyConflict, match="came before with other content"):
        terminal.ask(terminal.swipe(2_001))
    assert codes(terminal.ask(terminal.swipe(100, 1)).decision) == ["identity_revoked"]


def test_requests_that_arrive_together_are_decided_once(terminal: Terminal, world: World) -> None:
    ask = [terminal.network.ask("t_one", PROGRAM, terminal.swipe(2_000), world.now_us) for _ in range(2)]
    first, second = world.together(*ask)
    assert not isinstance(first, BaseException)
    assert not isinstance(second, BaseException)
    assert (first.repeated, second.repeated, first.decision) == (False, True, second.decision)


def test_a_card_that_nobody_knows_is_refused(terminal: Terminal, world: World) -> None:
    before = world.kinds()
    with pytest.raises(NotFound, match="no card is known that `stripe` calls `ic_2`"):
        terminal.ask(terminal.swipe(2_000, card="ic_2"))
    with pytest.raises(NotFound, match="unknown tenant `t_two`"):
        world.run(terminal.network.ask("t_two", PROGRAM, terminal.swipe(1), world.now_us))
    assert world.kinds() == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"event_id": ""}, "event_id"),
        ({"authorization_id": "a\nb"}, "authorization_id"),
        ({"currency": "cad"}, "currency"),
        ({"amount_minor": -1}, "amount"),
        ({"amount_minor": 10**15 + 1}, "amount"),
        ({"index": -1}, "index"),
    ],
)
def test_a_swipe_that_cannot_be_is_refused(terminal: Terminal, changes: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        terminal.ask(terminal.swipe(100, **changes))
    assert caught.value.field == field


def test_an_authorization_takes_a_hundred_requests(terminal: Terminal) -> None:
    for index in range(100):
        terminal.asks(1, index)
    with pytest.raises(Conflict, match="`iauth_1` has 100 requests, no more are taken"):
        terminal.asks(1, 100)


def test_what_is_captured_is_settled_in_parts(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("50", "ann")).budget.budget_id
    decision_id = terminal.asks(2_000)
    assert terminal.tells(capture(500, "a")) == "booked"
    assert terminal.figures(decision_id) == ("held", 1_500, 500, 0)
    terminal.tells(capture(700, "b"), say=standing(1, 1, authorized=2_000, over=True))
    assert terminal.figures(decision_id) == ("settled", 0, 1_200, 0)
    terminal.tells(refund(200))
    assert terminal.figures(decision_id) == ("settled", 0, 1_200, 200)
    assert world.used(budget) == (1_000, 0)
    assert world.kinds()[-2:] == ["card_event", "restate"]
    require_proof(world)


def test_an_increment_and_a_partial_reversal(terminal: Terminal) -> None:
    """What is taken back leaves the newest reservation first."""
    first, second = terminal.asks(1_000), terminal.asks(500, 1)
    terminal.tells(say=standing(2, 1, authorized=1_200))
    assert (terminal.figures(first), terminal.figures(second)) == (("held", 1_000, 0, 0), ("held", 200, 0, 0))
    terminal.tells(say=standing(2, 2, authorized=900))
    assert (terminal.figures(first), terminal.figures(second)) == (("held", 900, 0, 0), ("released", 0, 0, 0))
    terminal.tells(say=standing(2, 1, authorized=1_500))  # an older one, told late
    assert terminal.figures(second) == ("released", 0, 0, 0)


def test_what_remains_may_be_told_instead(terminal: Terminal) -> None:
    decision_id = terminal.asks(1_000)
    terminal.tells(capture(300), say=standing(1, 1, remaining=100))
    assert terminal.figures(decision_id) == ("held", 100, 300, 0)
    second = terminal.asks(50, 1)  # not covered by what was said: it adds what it asks
    assert terminal.figures(decision_id) == ("held", 150, 300, 0)
    assert terminal.figures(second) == ("released", 0, 0, 0)


@pytest.mark.parametrize("index", [1, None])
def test_what_is_permitted_after_all_was_over_is_on_hold(terminal: Terminal, world: World, index: int | None) -> None:
    """An approval without a hold would let others spend the same money, until the network told of it."""
    budget = world.budget(limit("50", "ann", period="total")).budget.budget_id
    terminal.asks(1_000)
    terminal.tells(say=standing(1, 1, authorized=1_000, over=True))
    assert world.used(budget) == (0, 0)
    assert terminal.ask(terminal.swipe(700, 1, index=index)).decision.allowed
    assert world.used(budget) == (0, 700)
    terminal.tells(say=standing(1, 2, authorized=1_000, over=True))  # told again of the first request alone
    assert world.used(budget) == (0, 700)
    terminal.tells(say=standing(2, 3, authorized=0, over=True))
    assert world.used(budget) == (0, 0)
    require_proof(world)


def test_a_released_authorization_that_is_captured_is_settled(terminal: Terminal, world: World) -> None:
    """Rule 9: released, then settled is a forced settlement for card networks, in the window of the hold."""
    budget = world.budget(limit("50", "ann", period="total")).budget.budget_id
    decision_id = terminal.asks(1_000)
    terminal.tells(say=standing(1, 1, authorized=1_000, over=True))
    assert terminal.figures(decision_id) == ("released", 0, 0, 0)
    world.now_us += 3 * DAY
    terminal.tells(capture(1_000))
    assert terminal.figures(decision_id) == ("settled", 0, 1_000, 0)
    assert not terminal.reservation(decision_id).late
    assert world.used(budget) == (1_000, 0)
    require_proof(world)


@pytest.mark.parametrize("on_expiry", ["release", "settle"])
def test_what_comes_after_the_expiry_is_late(terminal: Terminal, world: World, on_expiry: str) -> None:
    """A budget that settles at expiry has what is said to be on hold, until the network says otherwise."""
    budget = world.budget(limit("50", "ann", period="total", on_expiry=on_expiry)).budget.budget_id  # type: ignore[arg-type]
    decision_id = terminal.asks(1_000)
    kept = 1_000 if on_expiry == "settle" else 0
    world.now_us += 31 * DAY
    terminal.tells(say=standing(1, 1, authorized=900))  # the hold ends first, though nobody came by to end it
    assert terminal.figures(decision_id) == ("expired", 0, 0, 0)
    assert world.used(budget) == (min(kept, 900), 0)
    terminal.tells(capture(400))
    assert terminal.figures(decision_id) == ("settled", 0, 400, 0)
    assert terminal.reservation(decision_id).late
    assert world.used(budget) == (400 + (500 if kept else 0), 0)
    terminal.tells(capture(400, "b"), say=standing(1, 2, authorized=900, over=True))
    assert world.used(budget) == (800, 0)
    require_proof(world)


def test_an_expired_hold_that_the_network_ends(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("50", "ann", period="total", on_expiry="settle")).budget.budget_id
    decision_id = terminal.asks(1_000)
    world.now_us += 31 * DAY
    assert world.expire() == 1
    assert world.used(budget) == (1_000, 0)
    terminal.tells(say=standing(1, 1, authorized=1_000, over=True))
    assert terminal.figures(decision_id) == ("expired", 0, 0, 0)
    assert world.used(budget) == (0, 0)
    require_proof(world)


def test_more_than_was_held_is_captured(terminal: Terminal, world: World) -> None:
    """Rule 8: it is recorded and flagged."""
    budget = world.budget(limit("10", "ann")).budget.budget_id
    decision_id = terminal.asks(1_000)
    terminal.tells(capture(1_500))
    assert terminal.figures(decision_id) == ("settled", 0, 1_500, 0)
    assert terminal.reservation(decision_id).overdrawn
    assert world.bodies()[-1]["overdrawn"] == [budget]
    require_proof(world)


def test_what_is_over_is_booked_on_the_last_reservation(terminal: Terminal) -> None:
    first, second = terminal.asks(1_000), terminal.asks(100, 1)
    terminal.tells(capture(1_400))
    assert (terminal.figures(first)[2], terminal.figures(second)[2]) == (1_000, 400)
    terminal.tells(refund(500))
    assert (terminal.figures(first)[2:], terminal.figures(second)[2:]) == ((1_000, 100), (400, 400))


def test_a_capture_without_a_request_claims_every_budget(terminal: Terminal, world: World) -> None:
    """No policy is asked and nothing refuses it; it is booked as settled, counted, and overdrawn if need be."""
    wide = world.budget(limit("50")).budget.budget_id
    narrow = world.budget(limit("10", "ann", period="rolling_24h")).budget.budget_id
    uses = world.budget(limit("5", dimension="count", currency=None)).budget.budget_id
    world.budget(limit("9", "ann", period="per_transaction"))
    world.budget(limit("9", "ann", currency="EUR"))
    world.budget(limit("9", "ann", actions=("tool.call",)))
    world.revoke("ann")
    assert terminal.tells(capture(1_500)) == "booked"
    opened = terminal.opened()
    assert terminal.figures(opened) == ("settled", 0, 1_500, 0)
    assert terminal.reservation(opened).overdrawn
    assert (world.used(wide), world.used(narrow), world.used(uses)) == ((1_500, 0), (1_500, 0), (1, 0))
    record = world.bodies()[-1]
    assert (record["type"], record["overdrawn"], record["merchant"]) == ("forced", [narrow], "AWS")
    assert world.expire() == 0
    terminal.tells(capture(200, "b"))
    terminal.tells(refund(1_700))
    assert terminal.figures(opened) == ("settled", 0, 1_700, 1_700)
    assert world.used(wide) == (0, 0)
    require_proof(world)


def test_a_capture_after_a_denial_is_booked_all_the_same(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("10", "ann")).budget.budget_id
    assert not terminal.ask(terminal.swipe(2_000)).decision.allowed
    terminal.tells(capture(2_000))
    assert world.used(budget) == (2_000, 0)
    assert not terminal.ask(terminal.swipe(1, 1)).decision.allowed


def test_a_capture_that_came_before_its_request_gives_way(terminal: Terminal, world: World) -> None:
    """Nothing is used twice, whatever came first."""
    budget = world.budget(limit("50", "ann")).budget.budget_id
    uses = world.budget(limit("5", dimension="count", currency=None)).budget.budget_id
    terminal.tells(refund(100))
    terminal.tells(capture(600), say=standing(1, 1, authorized=1_000))
    decision_id = terminal.asks(1_000)
    assert terminal.figures(decision_id) == ("held", 400, 600, 100)
    assert terminal.figures(terminal.opened()) == ("released", 0, 0, 0)
    assert (world.used(budget), world.used(uses)) == ((500, 400), (1, 0))
    require_proof(world)


def test_a_refund_before_its_capture(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("50", "ann")).budget.budget_id
    decision_id = terminal.asks(1_000)
    terminal.tells(refund(300))
    assert terminal.figures(decision_id) == ("held", 1_000, 0, 0)
    terminal.tells(capture(1_000))
    assert terminal.figures(decision_id) == ("settled", 0, 1_000, 300)
    assert world.used(budget) == (700, 0)


def test_a_refund_without_anything_else_changes_no_budget(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("50", "ann")).budget.budget_id
    assert terminal.tells(refund(300)) == "booked"
    assert world.used(budget) == (0, 0)
    assert world.kinds()[-1] == "card_event"


def test_another_currency_than_was_asked(terminal: Terminal, world: World) -> None:
    """It is booked on what is budgeted in it; the hold is the network's to end."""
    cad = world.budget(limit("50", "ann")).budget.budget_id
    eur = world.budget(limit("50", "ann", currency="EUR")).budget.budget_id
    decision_id = terminal.asks(1_000)
    terminal.tells(capture(700), currency="EUR")
    terminal.tells(capture(700, "b"), currency="USD")
    assert terminal.figures(decision_id) == ("held", 1_000, 0, 0)
    assert (world.used(cad), world.used(eur)) == ((0, 1_000), (700, 0))
    assert terminal.dossier(currency="USD").captured_minor == 700
    require_proof(world)


def test_nothing_asked_and_nothing_captured(terminal: Terminal) -> None:
    """An authorization of zero stays open until it is over."""
    decision_id = terminal.asks(0)
    assert terminal.tells(capture(0)) == "booked"
    assert terminal.figures(decision_id) == ("held", 0, 0, 0)
    terminal.tells(say=standing(1, 1, authorized=0, over=True))
    assert terminal.figures(decision_id) == ("released", 0, 0, 0)


def test_a_movement_counts_once(terminal: Terminal, world: World) -> None:
    """In another event, and with other content, too; what differs is recorded."""
    decision_id = terminal.asks(1_000)
    assert terminal.tells(capture(500)) == "booked"
    assert terminal.tells(capture(500)) == "repeated"
    assert terminal.tells(capture(600)) == "repeated"
    assert terminal.figures(decision_id) == ("held", 500, 500, 0)
    marks = [body["moved"] for body in world.bodies() if body["type"] == "card_event"]
    assert marks == [
        [["capture", "ipi_1", 500, "counted"]],
        [["capture", "ipi_1", 500, "repeated"]],
        [["capture", "ipi_1", 600, "differs"]],
    ]


def test_an_event_is_taken_once(terminal: Terminal, world: World) -> None:
    """A repetition leaves no trace, one with other content a record."""
    terminal.asks(1_000)
    event = terminal.event(capture(500))
    assert terminal.tell(event) == "booked"
    before = world.kinds()
    assert terminal.tell(event) == "repeated"
    assert world.kinds() == before
    other = terminal.event(capture(700, "other"), event_id=event.event_id)
    assert terminal.tell(other) == "repeated"
    assert world.bodies()[-1]["differs"] is True
    assert terminal.dossier().captured_minor == 500


def test_what_is_not_about_money_is_recorded(terminal: Terminal, world: World) -> None:
    for event in (
        terminal.event(authorization_id=None, card=None, type="issuing_dispute.created"),
        terminal.event(capture(5), currency=None),
        terminal.event(),
        terminal.event(card="ic_2"),
    ):
        assert terminal.tell(event) == "no_effect"
        assert (world.bodies()[-1]["type"], world.bodies()[-1]["named"]) == ("card_event", event.type)
        assert terminal.tell(event) == "repeated"


def test_an_event_of_an_unknown_card_counts_once_the_card_is_known(terminal: Terminal, world: World) -> None:
    event = terminal.event(capture(500), card="ic_2", authorization_id="iauth_2")
    assert terminal.tell(event) == "unknown_card"
    assert world.bodies()[-1]["external_card"] == "ic_2"
    before = world.kinds()
    assert terminal.tell(event) == "unknown_card"
    assert world.kinds() == before
    terminal.card("ic_2")
    assert terminal.tell(event) == "booked"
    assert terminal.dossier("iauth_2").captured_minor == 500


def test_a_card_that_comes_to_be_known_meanwhile(terminal: Terminal, world: World) -> None:
    """The event was read before, and is booked on the card all the same."""
    event = terminal.event(capture(500), card="ic_2", authorization_id="iauth_2")
    told = terminal.network.tell("t_one", PROGRAM, event, world.now_us)
    card = terminal.creating("ic_2")
    made, became = world.together(card, told)
    assert (isinstance(made, BaseException), became) == (False, "booked")
    assert world.kinds().count("card_event") == 1


def test_an_event_that_names_no_card_is_of_the_authorizations(terminal: Terminal) -> None:
    assert terminal.tells(capture(100), card=None) == "unknown_card"
    decision_id = terminal.asks(1_000)
    assert terminal.tells(capture(500), card=None) == "booked"
    assert terminal.figures(decision_id) == ("held", 500, 500, 0)


@pytest.mark.parametrize("turn", ["freeze", "close"])
def test_captures_of_a_card_that_takes_no_more_are_booked(terminal: Terminal, world: World, turn: str) -> None:
    decision_id = terminal.asks(1_000)
    call = terminal.desk.freeze if turn == "freeze" else terminal.desk.close
    world.run(call(OPERATOR, "t_one", terminal.card_id, None, world.now_us))
    terminal.tells(capture(500))
    assert terminal.figures(decision_id) == ("held", 500, 500, 0)
    terminal.tells(capture(300, "x"), authorization_id="iauth_2")
    assert terminal.dossier("iauth_2").opening is not None
    assert not terminal.ask(terminal.swipe(1, 1)).decision.allowed


def test_a_budget_that_was_deleted_meanwhile(terminal: Terminal, world: World) -> None:
    budget = world.budget(limit("50", "ann")).budget.budget_id
    decision_id = terminal.asks(1_000)
    world.run(world.treasurer.delete(OPERATOR, "t_one", budget, world.now_us))
    terminal.tells(capture(1_500))
    assert terminal.figures(decision_id) == ("settled", 0, 1_500, 0)
    require_proof(world)


def test_nobody_else_ends_what_a_network_holds(terminal: Terminal, world: World) -> None:
    """The next event would undo it."""
    decision_id = terminal.asks(1_000)
    for call in (world.settle, world.release, lambda each: world.refund(each, "1")):
        with pytest.raises(Conflict, match="authorization `iauth_1` of the card network `stripe`, which alone"):
            call(decision_id)
    assert world.settler.find(OPERATOR, "t_one", decision_id).reservation == terminal.reservation(decision_id)


def test_a_capture_is_booked_by_budgets_of_now(terminal: Terminal, world: World) -> None:
    """The revision moves between the look and the transaction: a budget of in between is claimed as well."""
    told = terminal.network.tell("t_one", PROGRAM, terminal.event(capture(500)), world.now_us)
    made = world.treasurer.create(OPERATOR, "t_one", limit("50", "ann"), world.now_us)
    outcomes: list[object] = [*world.together(made, told)]
    assert outcomes[1] == "booked"
    with world.look() as part:
        [budget] = [listed.value.budget_id for listed in part.budgets.owned("ann")]
    assert world.used(budget) == (500, 0)
    require_proof(world)


def test_a_thousand_movements_cost_as_much_as_one(terminal: Terminal) -> None:
    """What is kept of them is their sum."""
    decision_id = terminal.asks(1_000_000)
    for number in range(40):
        moved = [capture(10, f"m{number}_{part}") for part in range(25)]
        assert terminal.tells(*moved) == "booked"
    assert terminal.figures(decision_id) == ("held", 990_000, 10_000, 0)
    assert terminal.dossier().captured_minor == 10_000


def test_windows_of_the_hold_and_of_the_capture(terminal: Terminal, world: World) -> None:
    """What was held is booked where it was held, whatever hour it is captured in."""
    hourly = world.budget(limit("50", "ann", period="hourly")).budget.budget_id
    terminal.asks(1_000)
    world.now_us += HOUR
    terminal.tells(capture(1_000))
    assert world.used(hourly) == (0, 0)
    terminal.tells(capture(400, "y"), authorization_id="iauth_2")
    assert world.used(hourly) == (400, 0)


def test_a_schema_without_card_payments_books_captures(terminal: Terminal, world: World) -> None:
    """A swipe is denied then, as nobody can permit it."""
    everything = world.budget(limit("50", "ann")).budget.budget_id
    world.budget(limit("50", "ann", actions=("tool.call",)))
    [schema] = shipped_files().schemas
    renamed = SourceFile(schema.path, schema.text.replace("card.authorize", "card.pay"))
    world.load(PolicyFiles(schemas=(renamed,), shared=(), by_tenant={}))
    assert codes(terminal.ask(terminal.swipe(100)).decision) == ["not_permitted"]
    terminal.tells(capture(500))
    assert world.used(everything) == (500, 0)
    require_proof(world)


def test_of_more_budgets_than_can_be_claimed_the_nearest_are(terminal: Terminal, world: World) -> None:
    """A request would be refused; money that has moved is booked on those next to the card."""
    for index in range(65):
        world.budget(limit("50", "ann" if index < 40 else "root"))
    with pytest.raises(Conflict, match="65 budgets govern this request"):
        terminal.asks(100)
    terminal.tells(capture(500))
    record = world.bodies()[-1]
    assert len(record["budgets"]) == BUDGETS_PER_CHAIN_MAX  # type: ignore[arg-type]
    require_proof(world)


def test_a_webhook_is_told_what_a_capture_overdrew(terminal: Terminal, world: World) -> None:
    mail = Mailroom(world)
    world.budget(limit("10", "ann"))
    hook = mail.hook("budget.overdrawn")
    terminal.tells(capture(1_500))
    terminal.tells(capture(100, "b"))
    assert [data["decision_id"] for _, data in mail.told(hook)] == [terminal.opened()] * 2


def test_a_decision_shows_whose_its_hold_is(terminal: Terminal, world: World) -> None:
    """A caller sees which authorization it belongs to, and of a hold of its own nothing."""
    found = world.settler.find(OPERATOR, "t_one", terminal.asks(1_000)).reservation
    assert found is not None
    assert reservation_of(found)["card_authorization"] == {"network": "stripe", "id": "iauth_1"}
    own = world.settler.find(OPERATOR, "t_one", world.decide(payment("1")).decision_id or "").reservation
    assert own is not None
    assert "card_authorization" not in reservation_of(own)
