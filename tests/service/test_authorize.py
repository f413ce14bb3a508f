"""Decisions: every code that a denial can have, what is recorded, what is reserved, and what a retry finds."""

import msgspec
import pytest

from sidecar.core.errors import (
    Forbidden,
    IdempotencyConflict,
    NotFound,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from sidecar.core.idempotency import IdempotencyKey, Replay, idempotency_key
from sidecar.core.instants import from_datetime, to_datetime
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import SourceFile
from sidecar.core.windows import Period
from sidecar.service import authorize as authorizing
from sidecar.service.idempotency import Answering, find_replay
from sidecar.service.identities import IdentityPatch
from sidecar.state.environment import StoreError, Txn
from tests.service.builders import (
    DAY,
    HOUR,
    OPERATOR,
    SECOND,
    World,
    at,
    codes,
    key_for,
    limit,
    only_schemas,
    payment,
    replaced,
    tool_call,
)


def paying(receiver: str, type_name: str = "account", identity_id: str = "root") -> AuthorizeRequest:
    """A payment to an account or an agent."""
    return replaced(
        payment(identity_id=identity_id), action="payment.create", resource=ResourceRef(type_name, receiver)
    )


def suspend(world: World, identity_id: str) -> None:
    """Suspend somebody."""
    patch = IdentityPatch(status="suspended")
    world.run(world.registry.change(OPERATOR, "t_one", identity_id, patch, world.now_us))


# --- What is permitted ------------------------------------------------------------------------------------------------


def test_a_permit_names_its_policy_and_holds_what_was_asked(world: World) -> None:
    world.found()
    policy_id = world.grant()
    budget_id = world.budget(limit(100)).budget.budget_id
    decision = world.decide(payment("10.00", quantities={"tokens": 5}, ttl_seconds=60))
    assert decision.allowed
    assert [(reason.verdict, reason.code, reason.policy_id) for reason in decision.reasons] == [
        ("permit", "permitted", policy_id)
    ]
    assert (decision.reserved_minor, decision.currency, decision.reserved_quantities) == (1000, "CAD", {"tokens": 5})
    assert decision.expires_at_us == world.now_us + 60 * SECOND
    assert decision.evaluated_at_us == world.now_us
    (check,) = decision.budget_checks
    assert (check.budget_id, check.settled, check.reserved, check.requested, check.remaining) == (
        budget_id,
        0,
        0,
        1000,
        10_000,
    )
    assert check.resets_at_us == at("2026-02-04T00:00")
    assert world.used(budget_id) == (0, 1000)


def test_the_record_of_a_decision_stands_where_its_answer_says(world: World) -> None:
    world.tenant()
    decision = world.decide(payment())
    assert decision.audit is not None
    record = world.bodies()[decision.audit.seq]
    assert (record["type"], record["decision"], record["verdict"]) == ("decision", decision.decision_id, "allow")
    assert (record["now"], record["action"], record["amount"], record["currency"]) == (
        world.now_us,
        "card.authorize",
        1000,
        "CAD",
    )
    assert record["token"] == "operator"
    assert record["entity_revision"] == decision.entity_revision


def test_a_permit_without_anything_to_count_reserves_nothing(world: World) -> None:
    world.tenant()
    decision = world.decide(tool_call())
    assert decision.allowed
    assert (decision.reserved_minor, decision.expires_at_us) == (None, None)
    with world.look() as part:
        assert part.ledger.reservation(str(decision.decision_id)) is None


def test_every_permit_with_an_amount_has_a_reservation_also_where_no_budget_matched(world: World) -> None:
    """I2."""
    world.tenant()
    decision = world.decide(payment())
    with world.look() as part:
        reservation = part.ledger.reservation(str(decision.decision_id))
    assert reservation is not None
    assert (reservation.state, reservation.claims) == ("held", ())


def test_what_is_counted_is_settled_at_once_and_shows_no_reservation(world: World) -> None:
    """DESIGN 9: counts are never held."""
    world.tenant()
    budget_id = world.budget(limit(2, dimension="count", period="hourly")).budget.budget_id
    decisions = [world.decide(tool_call()) for _ in range(3)]
    assert [codes(decision) for decision in decisions] == [["permitted"], ["permitted"], ["budget_exceeded"]]
    assert decisions[0].expires_at_us is None
    assert world.used(budget_id) == (2, 0)


def test_every_budget_of_every_identity_on_the_chain_is_claimed_or_none(world: World) -> None:
    """DESIGN 7."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    budgets = [
        world.budget(limit(amount, name)).budget.budget_id
        for name, amount in (("root", 100), ("team", 15), ("ann", 50), ("ann", 40))
    ]
    first = world.decide(payment("10.00", "ann"))
    assert [check.budget_id for check in first.budget_checks] == [budgets[2], budgets[3], budgets[1], budgets[0]]
    assert [world.used(budget_id) for budget_id in budgets] == [(0, 1000)] * 4
    second = world.decide(payment("10.00", "ann"))
    assert codes(second) == ["budget_exceeded"]
    assert second.reasons[0].budget_id == budgets[1]
    assert [world.used(budget_id) for budget_id in budgets] == [(0, 1000)] * 4


def test_a_budget_of_some_actions_governs_no_others(world: World) -> None:
    world.tenant()
    world.budget(limit(1, actions=("spend",)))
    world.budget(limit(1, dimension="tokens", actions=("tool.call",)))
    assert codes(world.decide(payment("2.00"))) == ["budget_exceeded"]
    assert codes(world.decide(tool_call(quantities={"tokens": 2}))) == ["budget_exceeded"]
    assert world.decide(payment("1.00", quantities={"tokens": 2})).allowed


# --- Every code of a denial -------------------------------------------------------------------------------------------


def test_identity_revoked_and_suspended_name_who_itself_or_any_ancestor(world: World) -> None:
    """DESIGN 2: all that apply, revocations first."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    world.identity("sub", "ann")
    suspend(world, "sub")
    suspend(world, "team")
    world.revoke("ann")
    decision = world.decide(payment(identity_id="sub"))
    assert [(reason.code, reason.identity_id) for reason in decision.reasons] == [
        ("identity_revoked", "ann"),
        ("identity_suspended", "sub"),
        ("identity_suspended", "team"),
    ]
    assert decision.budget_checks == ()


def test_whoever_is_blocked_is_denied_before_cedar_is_asked(world: World) -> None:
    """Also for what no schema knows: the block is the answer, and nothing more is told."""
    world.tenant()
    world.identity("ann")
    world.revoke("ann")
    strange = replaced(tool_call("ann"), action="no.such", context={"unknown": 1})
    assert codes(world.decide(strange)) == ["identity_revoked"]


def test_policy_error_denies_whatever_else_permits(world: World) -> None:
    """Rule 10: Cedar skips a `forbid` that fails, we do not."""
    world.tenant()
    world.cedar(
        '@id("overflow")\nforbid (principal, action == Action::"card.authorize", resource)\n'
        "when { context.amount * 9223372036854775807 > 0 };"
    )
    decision = world.decide(payment("10.00"))
    assert codes(decision) == ["policy_error"]
    assert "overflow" in decision.reasons[0].message
    assert world.bodies()[-1]["errors"] == [f"{decision.reasons[0].policy_id}/overflow"]


def test_forbidden_names_the_rule_and_the_value_that_would_pass(world: World) -> None:
    world.found()
    rules = Rules(currencies=("CAD",), max_amount=Major("5"))
    policy_id = world.grant(rules=rules)
    decision = world.decide(payment("10.00"))
    assert [(reason.code, reason.policy_id, reason.matched_rule) for reason in decision.reasons] == [
        ("forbidden", policy_id, "max_amount")
    ]
    assert decision.reasons[0].message.endswith("requires amount at most 5 CAD, got `10 CAD`")


def test_forbidden_by_a_file_names_file_line_and_advice(world: World) -> None:
    world.tenant()
    decision = world.decide(replaced(payment(), merchant_category="7995"))
    (reason,) = decision.reasons
    assert (reason.code, reason.policy_id, reason.source) == (
        "forbidden",
        "spend/no-gambling-or-cash",
        "policies/spend.cedar:20",
    )
    assert reason.advice == "choose another merchant, no budget or approval lifts this"


def test_not_permitted_where_no_policy_says_so(world: World) -> None:
    world.found()
    decision = world.decide(payment())
    assert codes(decision) == ["not_permitted"]
    assert world.bodies()[-1]["verdict"] == "deny"


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        pytest.param(replaced(tool_call(), action="no.such"), "no.such", id="action"),
        pytest.param(replaced(tool_call(), resource=ResourceRef("castle", "x")), "castle", id="resource type"),
    ],
)
def test_what_the_schema_does_not_know_is_a_recorded_denial_naming_it(
    world: World, request_: AuthorizeRequest, named: str
) -> None:
    world.tenant()
    decision = world.decide(request_)
    assert codes(decision) == ["not_permitted"]
    assert named in decision.reasons[0].message
    assert world.kinds()[-1] == "decision"


def test_a_principal_type_that_the_action_does_not_apply_to_is_a_recorded_denial(world: World) -> None:
    schema = only_schemas("permit (principal, action, resource);")
    narrowed = schema.schemas[0].text.replace(
        'action "tool.call" in [use] appliesTo {\n  principal: [User, ',
        'action "tool.call" in [use] appliesTo {\n  principal: [',
    )
    assert narrowed != schema.schemas[0].text
    world.load(msgspec.structs.replace(schema, schemas=(SourceFile("schemas/narrowed.cedarschema", narrowed),)))
    world.found()
    assert codes(world.decide(tool_call())) == ["not_permitted"]
    world.identity("ann")
    assert world.decide(tool_call("ann")).allowed


def test_currency_not_budgeted_names_whose_budgets_know_another(world: World) -> None:
    """DESIGN 7: a currency that somebody never budgeted is refused, not unlimited."""
    world.tenant()
    world.identity("ann")
    usd = world.budget(limit(100, "ann", currency="USD")).budget.budget_id
    world.budget(limit(100))
    decision = world.decide(payment("10.00", "ann"))
    assert [(reason.code, reason.identity_id, reason.budget_id) for reason in decision.reasons] == [
        ("currency_not_budgeted", "ann", usd)
    ]
    assert world.decide(tool_call("ann")).allowed, "what has no amount is not limited by budgets of amounts"


def test_a_soft_budget_in_another_currency_refuses_nothing(world: World) -> None:
    world.tenant()
    world.budget(limit(100, currency="USD", on_exceeded="notify"))
    assert world.decide(payment()).allowed


def test_budget_exceeded_tells_what_was_asked_what_remains_and_when_to_come_again(world: World) -> None:
    world.tenant()
    budget_id = world.budget(limit(15)).budget.budget_id
    world.decide(payment("10.00"))
    decision = world.decide(payment("10.00"))
    (reason,) = decision.reasons
    assert (reason.code, reason.budget_id, reason.requested, reason.remaining) == (
        "budget_exceeded",
        budget_id,
        1000,
        500,
    )
    assert (reason.currency, reason.retry_at_us) == ("CAD", at("2026-02-04T00:00"))
    assert decision.reserved_minor is None


@pytest.mark.parametrize(
    ("period", "retry_at"),
    [
        ("hourly", "2026-02-03T13:00"),
        ("daily", "2026-02-04T00:00"),
        ("weekly", "2026-02-09T00:00"),
        ("monthly", "2026-03-01T00:00"),
        ("yearly", "2027-01-01T00:00"),
        ("rolling_24h", "2026-02-04T11:00"),
        ("total", None),
    ],
)
def test_retry_at_is_when_the_window_ends_and_for_a_rolling_one_when_enough_has_left(
    world: World, period: Period, retry_at: str | None
) -> None:
    world.tenant()
    world.now_us -= HOUR
    world.budget(limit(10, period=period))
    world.decide(payment("9.00"))
    world.now_us += HOUR
    if period == "hourly":
        world.decide(payment("9.00"))
    (reason,) = world.decide(payment("2.00")).reasons
    assert reason.code == "budget_exceeded"
    assert reason.retry_at_us == (None if retry_at is None else at(retry_at))


def test_per_transaction_limit_has_no_time_to_come_again(world: World) -> None:
    world.tenant()
    world.budget(limit(5, period="per_transaction"))
    decision = world.decide(payment("10.00"))
    assert [(reason.code, reason.retry_at_us) for reason in decision.reasons] == [("per_transaction_limit", None)]
    assert decision.budget_checks[0].resets_at_us is None
    assert world.decide(payment("5.00")).allowed
    assert world.decide(payment("5.00")).allowed


def test_all_reasons_are_told_in_the_order_of_the_code_list(world: World) -> None:
    world.tenant()
    world.identity("ann")
    world.budget(limit(1, "ann", period="per_transaction", dimension="tokens"))
    world.budget(limit(1, "ann", dimension="tokens"))
    world.budget(limit(1, "root", currency="USD"))
    decision = world.decide(payment("2.00", "ann", quantities={"tokens": 5}))
    assert codes(decision) == ["currency_not_budgeted", "budget_exceeded", "per_transaction_limit"]
    assert len(decision.budget_checks) == 2


def test_cedar_denies_so_no_budget_is_looked_at(world: World) -> None:
    """DESIGN 5."""
    world.found()
    budget_id = world.budget(limit(1)).budget.budget_id
    decision = world.decide(payment("2.00"))
    assert codes(decision) == ["not_permitted"]
    assert decision.budget_checks == ()
    assert world.used(budget_id) == (0, 0)


def test_an_empty_set_of_policies_permits_nothing(world: World) -> None:
    """Fail closed."""
    world.load(only_schemas())
    world.found()
    assert codes(world.decide(payment())) == ["not_permitted"]


# --- What does not fit is an error and leaves no trace ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"context": {"unknown": 1}}, "context.unknown"),
        ({"context": {"amount": 1}}, "context.amount"),
        ({"attributes": {"unknown": 1}}, "resource.attributes.unknown"),
        ({"amount_minor": None, "currency": None}, "resource.amount"),
        ({"resource": ResourceRef("tool", "x")}, "resource.type"),
    ],
)
def test_a_request_that_does_not_fit_the_schema_is_refused_naming_the_place(
    world: World, changes: dict[str, object], field: str
) -> None:
    world.tenant()
    before = world.kinds()
    with pytest.raises(ValidationFailed) as refused:
        world.decide(replaced(payment(), **changes))
    assert refused.value.field == field
    assert world.kinds() == before


@pytest.mark.parametrize("request_", [payment(identity_id="nobody"), paying("nobody", "agent")])
def test_an_identity_that_does_not_exist_is_not_found(world: World, request_: AuthorizeRequest) -> None:
    world.tenant()
    before = world.kinds()
    with pytest.raises(NotFound):
        world.decide(request_)
    assert world.kinds() == before


def test_an_agent_decides_for_itself_and_whoever_is_below(world: World) -> None:
    """DESIGN 6: what is outside a token's reach does not exist for it."""
    world.tenant()
    world.identity("ann")
    world.identity("sub", "ann")
    world.identity("bob")
    ann = world.token("ann")
    assert world.authorize(payment(identity_id="ann"), caller=ann).decision.allowed
    assert world.authorize(payment(identity_id="sub"), caller=ann).decision.allowed
    for outside in ("bob", "root", "nobody"):
        with pytest.raises(NotFound) as refused:
            world.authorize(payment(identity_id=outside), caller=ann)
        assert refused.value.message == f"unknown identity `{outside}`"
        with pytest.raises(NotFound):
            world.authorizer.rehearse(ann, None, payment(identity_id=outside), world.now_us)
    token = ann.token
    assert token is not None
    assert world.bodies()[-1]["token"] == token.token_id


def test_without_room_on_the_disk_no_permit_is_given_and_what_is_held_still_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 9."""
    world.tenant()
    request = payment()
    held = [str(world.authorize(request, key_for(request, f"k{number}")).decision.decision_id) for number in range(3)]

    def full() -> None:
        raise Unavailable("1 MiB are free on the disk of the store, 256 MiB are needed")

    monkeypatch.setattr(world.store, "require_room", full)
    before = world.kinds()
    with pytest.raises(Unavailable, match="MiB are free"):
        world.decide(payment())
    assert world.kinds() == before
    assert world.settle(held[0]).state == "settled"
    assert world.release(held[1]).state == "released"
    world.now_us += request.ttl_seconds * SECOND
    assert world.expire() == 1


def test_what_could_not_be_recorded_is_never_a_permit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 1 of DESIGN: the commit fails, so does the call, and nothing is held."""
    world.tenant()
    budget_id = world.budget(limit(100)).budget.budget_id

    def failing() -> Txn:
        raise StoreError("mdb_txn_begin: ?")

    with monkeypatch.context() as patch:
        patch.setattr(world.environment, "begin_write", failing)
        with pytest.raises(Unavailable, match="the outcome is unknown"):
            world.decide(payment())
    assert world.used(budget_id) == (0, 0)
    assert world.decide(payment()).allowed


# --- Idempotency ------------------------------------------------------------------------------------------------------


def test_the_same_key_and_content_bring_the_stored_answer_and_change_nothing(world: World) -> None:
    world.tenant()
    request = payment()
    first = world.authorize(request, key_for(request))
    before = world.bodies()
    world.now_us += DAY - 1
    again = world.authorize(request, key_for(request))
    assert (first.replayed, again.replayed) == (False, True)
    assert again.decision == first.decision
    assert world.bodies() == before


def test_a_denial_is_repeated_as_it_was_also_where_it_would_be_a_permit_now(world: World) -> None:
    world.found()
    request = payment()
    first = world.authorize(request, key_for(request))
    world.grant()
    assert world.authorize(request, key_for(request)).decision == first.decision
    assert world.authorize(request, key_for(request, "k2")).decision.allowed


@pytest.mark.parametrize("fate", ["deleted", "expired"])
def test_a_retry_with_a_token_that_is_gone_is_told_nothing(world: World, fate: str) -> None:
    """DESIGN 11: the token comes first, then the idempotency row."""
    world.tenant()
    minted = world.minted("root", life_us=SECOND)
    caller = world.desk.authenticate(minted.text, world.now_us)
    request = payment()
    world.authorize(request, key_for(request, caller=caller), caller=caller)
    if fate == "deleted":
        world.run(world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, world.now_us))
    else:
        world.now_us += SECOND
    with pytest.raises(Unauthenticated):
        world.authorize(request, key_for(request, caller=caller), caller=caller)


def test_a_retry_is_answered_also_without_room_on_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes nothing, and whoever asks wants to know what became of the money."""
    world.tenant()
    request = payment()
    first = world.authorize(request, key_for(request))

    def full() -> None:
        raise Unavailable("1 MiB are free on the disk of the store, 256 MiB are needed")

    monkeypatch.setattr(world.store, "require_room", full)
    assert world.authorize(request, key_for(request)).decision == first.decision
    with pytest.raises(Unavailable):
        world.authorize(request, key_for(request, "k2"))


def test_a_key_is_looked_up_once_before_the_transaction_and_once_inside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[IdempotencyKey] = []

    def counted(part: Answering, key: IdempotencyKey, now_us: int) -> Replay | None:
        looked.append(key)
        return find_replay(part, key, now_us)

    monkeypatch.setattr(authorizing, "find_replay", counted)
    world.tenant()
    request = payment()
    world.authorize(request, key_for(request))
    assert len(looked) == 2


def test_the_same_key_with_other_content_is_a_conflict_and_leaves_no_trace(world: World) -> None:
    world.tenant()
    request, other = payment("10.00"), payment("10.01")
    world.authorize(request, key_for(request))
    before = world.bodies()
    with pytest.raises(IdempotencyConflict):
        world.authorize(other, key_for(other))
    assert world.bodies() == before


def test_the_keys_of_different_callers_and_of_different_calls_are_different(world: World) -> None:
    world.tenant()
    world.identity("ann")
    ann = world.token("ann")
    request = payment(identity_id="ann")
    decisions = {
        str(world.authorize(request, key_for(request)).decision.decision_id),
        str(world.authorize(request, key_for(request, caller=ann), caller=ann).decision.decision_id),
        str(
            world.authorize(
                request, idempotency_key("operator", "POST /v1/other", "k1", request.canonical())
            ).decision.decision_id
        ),
    }
    assert len(decisions) == 3


def test_the_keys_of_different_tenants_are_different(world: World) -> None:
    world.tenant()
    world.tenant("t_two")
    request = payment()
    first = world.authorize(request, key_for(request))
    second = world.authorize(request, key_for(request), tenant_id="t_two")
    assert not second.replayed
    assert first.decision.decision_id != second.decision.decision_id


def test_a_key_is_forgotten_after_a_day(world: World) -> None:
    world.tenant()
    request = payment()
    first = world.authorize(request, key_for(request))
    world.now_us += DAY
    again = world.authorize(request, key_for(request))
    assert not again.replayed
    assert again.decision.decision_id != first.decision.decision_id
    assert world.run(world.settler.prune_replays(world.now_us)) == 1
    assert world.authorize(request, key_for(request)).decision == again.decision


@pytest.mark.parametrize("blocked", ["ann", "team", "root"])
def test_the_replay_of_a_permit_whose_chain_was_revoked_since_is_a_new_denial(world: World, blocked: str) -> None:
    """DESIGN 11: recorded, naming the first decision, and the reservation stays."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    budget_id = world.budget(limit(100)).budget.budget_id
    request = payment(identity_id="ann")
    first = world.authorize(request, key_for(request)).decision
    world.revoke(blocked)
    for _ in range(2):
        again = world.authorize(request, key_for(request))
        assert not again.replayed
        assert codes(again.decision) == ["identity_revoked"]
        assert again.decision.decision_id != first.decision_id
        assert world.bodies()[-1]["replay_of"] == first.decision_id
    assert world.used(budget_id) == (0, 1000)
    assert world.settle(str(first.decision_id)).state == "settled"


def test_the_replay_of_a_permit_whose_chain_is_free_again_is_the_permit(world: World) -> None:
    world.tenant()
    world.identity("ann")
    request = payment(identity_id="ann")
    first = world.authorize(request, key_for(request))
    suspend(world, "ann")
    assert not world.authorize(request, key_for(request)).decision.allowed
    patch = IdentityPatch(status="active")
    world.run(world.registry.change(OPERATOR, "t_one", "ann", patch, world.now_us))
    assert world.authorize(request, key_for(request)).decision == first.decision


# --- Dry runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["10.00", "1000.00"])
def test_a_dry_run_foretells_the_decision_and_writes_nothing(world: World, amount: str) -> None:
    world.tenant()
    budget_id = world.budget(limit(100)).budget.budget_id
    before = world.bodies()
    foretold = world.authorizer.rehearse(OPERATOR, "t_one", payment(amount), world.now_us).decision
    assert foretold.dry_run
    assert (foretold.decision_id, foretold.audit, foretold.expires_at_us, foretold.reserved_minor) == (None,) * 4
    assert world.bodies() == before
    assert world.used(budget_id) == (0, 0)
    decision = world.decide(payment(amount))
    assert (decision.allowed, decision.reasons, decision.budget_checks) == (
        foretold.allowed,
        foretold.reasons,
        foretold.budget_checks,
    )


def test_a_dry_run_suspends_nobody(world: World) -> None:
    world.tenant()
    world.budget(limit(1, on_exceeded="suspend"))
    assert not world.authorizer.rehearse(OPERATOR, "t_one", payment(), world.now_us).decision.allowed
    assert world.registry.get(OPERATOR, "t_one", "root").identity.status == "active"


# --- What happens beyond a limit --------------------------------------------------------------------------------------


def test_a_budget_that_says_so_suspends_the_acting_identity(world: World) -> None:
    """Not its owner; with a record of its own; and the next decision sees it."""
    world.tenant()
    world.identity("team", type_name="team")
    world.identity("ann", "team")
    world.budget(limit(5, "team", on_exceeded="suspend"))
    assert codes(world.decide(payment("10.00", "ann"))) == ["budget_exceeded"]
    assert world.kinds()[-2:] == ["decision", "identity_suspended"]
    assert world.bodies()[-1]["by"] == "sidecar"
    assert world.registry.get(OPERATOR, "t_one", "ann").identity.status == "suspended"
    assert world.registry.get(OPERATOR, "t_one", "team").identity.status == "active"
    assert codes(world.decide(payment("1.00", "ann"))) == ["identity_suspended"]


def test_a_suspending_budget_that_is_not_exceeded_suspends_nobody(world: World) -> None:
    world.tenant()
    world.budget(limit(5, on_exceeded="suspend"))
    world.budget(limit(1, on_exceeded="deny"))
    assert codes(world.decide(payment("2.00"))) == ["budget_exceeded"]
    assert world.registry.get(OPERATOR, "t_one", "root").identity.status == "active"


@pytest.mark.parametrize("on_exceeded", ["notify", "track"])
def test_a_soft_budget_counts_and_refuses_nothing(world: World, on_exceeded: str) -> None:
    world.tenant()
    draft = limit(5, on_exceeded="notify" if on_exceeded == "notify" else "track")
    budget_id = world.budget(draft).budget.budget_id
    assert world.decide(payment("10.00")).allowed
    decision = world.decide(payment("10.00"))
    assert decision.allowed
    assert [(check.allowed, check.remaining) for check in decision.budget_checks] == [(True, 0)]
    assert world.used(budget_id) == (0, 2000)


# --- What a decision rests on -----------------------------------------------------------------------------------------


def test_windows_and_hours_are_those_of_the_tenants_time_zone(world: World) -> None:
    """A day of 23 hours: what is claimed at 00:30 and at 23:30 counts in one day, 23 hours long."""
    world.now_us = at("2026-03-08T00:30", "America/Toronto")
    world.tenant(time_zone="America/Toronto")
    made = world.budget(limit(15))
    assert made.window is not None
    assert made.window.end_us is not None
    assert made.window.end_us - made.window.start_us == 23 * HOUR
    assert world.decide(payment("10.00")).allowed
    world.now_us = at("2026-03-08T23:30", "America/Toronto")
    assert codes(world.decide(payment("10.00"))) == ["budget_exceeded"]
    world.now_us += HOUR // 2
    assert world.decide(payment("10.00")).allowed


def test_policies_see_the_hour_and_weekday_of_the_tenant(world: World) -> None:
    world.now_us = at("2026-02-03T23:30", "America/Toronto")  # Wednesday, 04:30 in UTC
    world.found(time_zone="America/Toronto")
    world.grant(rules=Rules(allowed_hours=(22, 24), allowed_days=(2,)))
    assert world.decide(tool_call()).allowed
    world.now_us += HOUR
    assert codes(world.decide(tool_call())) == ["forbidden", "forbidden"]


def test_one_time_is_used_for_the_ruling_the_window_and_the_record(world: World) -> None:
    world.tenant()
    world.budget(limit(100))
    decision = world.decide(payment())
    body = world.bodies()[-1]
    assert body["now"] == body["ts"] == decision.evaluated_at_us == world.now_us
    start = to_datetime(world.now_us).replace(hour=0, minute=0)
    budgets = body["budgets"]
    assert isinstance(budgets, list)
    assert budgets[0][3] == from_datetime(start)


def test_the_time_of_a_record_never_goes_back_and_the_decision_keeps_its_own(world: World) -> None:
    world.tenant()
    world.now_us -= 10 * SECOND
    decision = world.decide(payment())
    body = world.bodies()[-1]
    assert body["now"] == decision.evaluated_at_us == world.now_us
    assert body["ts"] == world.now_us + 10 * SECOND


def test_a_decision_of_many_policies_names_the_first_and_counts_the_rest(world: World) -> None:
    """The record has a largest size, whatever a tenant writes into its policies."""
    world.found()
    statements = [f'@id("{number:03}{"x" * 190}")\npermit (principal, action, resource);' for number in range(250)]
    for start in range(0, 250, 50):
        world.cedar("\n".join(statements[start : start + 50]))
    decision = world.decide(payment())
    assert decision.allowed
    body = world.bodies()[-1]
    matched = body["matched"]
    assert isinstance(matched, list)
    assert len(matched) + int(str(body["matched_more"])) == 250


def test_a_token_that_ran_out_between_reading_and_committing_decides_nothing(world: World) -> None:
    world.tenant()
    caller = world.token(None, life_us=SECOND)
    before = world.kinds()
    world.now_us += SECOND
    with pytest.raises(Unauthenticated):
        world.authorize(payment(), caller=caller)
    assert world.kinds() == before


# --- Who may hold for how long ----------------------------------------------------------------------------------------


def test_an_agent_cannot_have_its_budget_back_by_holding_it_for_a_moment(world: World) -> None:
    """A hold that expires is released, and releasing is not an agent's to do (DESIGN rule 6)."""
    world.tenant()
    world.identity("ann")
    budget_id = world.budget(limit(10, "ann")).budget.budget_id
    short = payment("10.00", "ann", ttl_seconds=604_799)
    agent, trusted = world.token("ann"), world.token("ann", may_release=True)
    with pytest.raises(Forbidden) as refused:
        world.authorize(short, caller=agent)
    assert refused.value.field == "reservation_ttl_seconds"
    with pytest.raises(Forbidden):
        world.authorizer.rehearse(agent, None, short, world.now_us)
    assert world.used(budget_id) == (0, 0)
    assert world.authorize(replaced(tool_call("ann"), ttl_seconds=1), caller=agent).decision.allowed
    assert world.authorize(short, caller=trusted).decision.allowed
    assert world.authorize(replaced(short, amount_minor=0, ttl_seconds=604_800), caller=agent).decision.allowed
