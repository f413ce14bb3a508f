"""What AuthZEN asks is decided as natively; what nobody can decide is denied and fails no other question."""

from pathlib import Path

import msgspec
import pytest
from msgspec import convert

from sidecar.core.access import Caller
from sidecar.core.authzen import Authzen
from sidecar.core.errors import Conflict, IdempotencyConflict, NotFound, SidecarError, TooLarge, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey, idempotency_key
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.service.authorize import Answered
from sidecar.service.batch import SLICE, Semantics
from sidecar.service.evaluations import AnsweredEvaluations, Evaluation, Evaluations, Evaluator, Outcome, is_allowed
from sidecar.service.tenants import TenantPatch
from tests.service.builders import OPERATOR, World, limit, payment, replaced, tool_call
from tests.service.flotilla import Fleet
from tests.service.histories import chronicle, prove
from tests.service.searching import call, files

BAD = ValidationFailed("no question", field="action")


def asked(request: AuthorizeRequest, subject_type: str = "agent", **properties: dict[str, object]) -> Evaluation:
    """A question."""
    return Evaluation(
        subject_type, request, properties.get("subject_properties", {}), properties.get("resource_properties", {})
    )


def house(world: World, **allowed: object) -> None:
    """A tenant with an agent, in which everything is granted."""
    world.tenant()
    world.identity("bot", metadata={"role": "reader"})
    allow(world, **allowed)


def allow(world: World, **allowed: object) -> None:
    """Let the callers of AuthZEN say something."""
    world.run(world.tenancy.change(OPERATOR, "t_one", TenantPatch(authzen=convert(allowed, Authzen)), world.now_us))


def evaluate(
    world: World, question: Evaluation, key: IdempotencyKey | None = None, caller: Caller = OPERATOR
) -> Outcome:
    """Ask one question."""
    tenant_id = None if caller.token is not None else "t_one"
    return world.run(world.evaluator.evaluate(caller, tenant_id, question, key, world.now_us))


def several(*questions: Evaluation | SidecarError, semantics: Semantics = "execute_all") -> Evaluations:
    """Several questions of the operator."""
    return Evaluations(OPERATOR, "t_one", questions, semantics, 0)


def evaluate_all(
    world: World,
    *questions: Evaluation | SidecarError,
    semantics: Semantics = "execute_all",
    key: IdempotencyKey | None = None,
) -> AnsweredEvaluations:
    """Ask several questions."""
    many = msgspec.structs.replace(several(*questions, semantics=semantics), now_us=world.now_us)
    return world.run(world.evaluator.evaluate_all(many, key))


def verdicts(answered: AnsweredEvaluations) -> list[bool]:
    """What was answered."""
    return [is_allowed(outcome) for outcome in answered.outcomes]


def key(text: str = "k", content: bytes = b"{}") -> IdempotencyKey:
    """The idempotency key of a call."""
    return idempotency_key("operator", "POST /access/v1/evaluations", text, content)


# --- One question -----------------------------------------------------------------------------------------------------


def test_a_question_is_decided_recorded_and_held_as_natively(world: World) -> None:
    house(world)
    budget_id = world.budget(limit(25)).budget.budget_id
    outcome = evaluate(world, asked(payment("10", "bot")))
    assert isinstance(outcome, Answered)
    assert outcome.decision.allowed
    assert world.used(budget_id) == (0, 1_000)
    assert world.bodies()[-1]["decision"] == outcome.decision.decision_id


def test_a_subject_that_nobody_knows_is_denied_and_nothing_is_recorded(world: World) -> None:
    """So is one of another type, one out of reach, and a resource that is no identity; the first three read alike."""
    house(world)
    world.identity("peer")
    agent = world.token("bot")
    before = world.bodies()
    outcomes = [
        evaluate(world, asked(tool_call("ghost"))),
        evaluate(world, asked(tool_call("bot"), "user")),
        evaluate(world, asked(tool_call("peer")), caller=agent),
    ]
    for name, outcome in zip(("ghost", "bot", "peer"), outcomes, strict=True):
        assert isinstance(outcome, NotFound)
        assert (outcome.message, outcome.field) == (f"unknown identity `{name}`", "identity_id")
    nowhere = replaced(payment("1", "bot"), action="payment.create", resource=ResourceRef("agent", "ghost"))
    assert isinstance(evaluate(world, asked(nowhere)), NotFound)
    assert isinstance(world.evaluator.rehearse(OPERATOR, "t_one", asked(tool_call("ghost")), world.now_us), NotFound)
    assert world.bodies() == before


def test_out_of_reach_nothing_is_said_of_what_is_there(world: World) -> None:
    """Not even that a property is wrong."""
    house(world, subject_properties=("role",))
    world.identity("peer")
    wrong: dict[str, object] = {"role": {"__entity": "x"}}
    outcome = evaluate(world, asked(tool_call("peer"), subject_properties=wrong), caller=world.token("bot"))
    assert isinstance(outcome, NotFound)
    with pytest.raises(ValidationFailed):
        evaluate(world, asked(tool_call("peer"), subject_properties=wrong))


def test_an_unknown_tenant_is_a_mistake(world: World) -> None:
    house(world)
    with pytest.raises(NotFound, match="unknown tenant `t_two`"):
        world.run(world.evaluator.evaluate(OPERATOR, "t_two", asked(tool_call("bot")), None, world.now_us))
    with pytest.raises(NotFound, match="unknown tenant `t_two`"):
        world.evaluator.rehearse(OPERATOR, "t_two", asked(tool_call("bot")), world.now_us)


def test_a_question_that_does_not_fit_the_schema_is_a_mistake(world: World) -> None:
    house(world)
    with pytest.raises(ValidationFailed) as caught:
        evaluate(world, asked(replaced(tool_call("bot"), context={"colour": "red"})))
    assert caught.value.field == "context.colour"


def test_a_rehearsal_reserves_and_records_nothing(world: World) -> None:
    house(world)
    before = world.bodies()
    outcome = world.evaluator.rehearse(OPERATOR, "t_one", asked(payment("10", "bot")), world.now_us)
    assert isinstance(outcome, Answered)
    assert (outcome.decision.allowed, outcome.decision.decision_id) == (True, None)
    assert world.bodies() == before


def test_a_key_returns_the_stored_decision(world: World) -> None:
    house(world)
    first, second = (evaluate(world, asked(payment("10", "bot")), key()) for _ in range(2))
    assert isinstance(first, Answered)
    assert isinstance(second, Answered)
    assert (second.replayed, second.decision) == (True, first.decision)


# --- Properties -------------------------------------------------------------------------------------------------------

ADMINS = (
    '@id("admins") permit(principal, action == Action::"tool.call", resource)'
    ' when { principal.hasTag("role") && principal.getTag("role") == "admin" };'
)


def claims(world: World, role: object = "admin") -> bool:
    """Whether an agent that says to be something is let through."""
    return is_allowed(evaluate(world, asked(tool_call("bot"), subject_properties={"role": role, "extra": 1.5})))


def only_admins(world: World) -> None:
    """Let nobody but admins call tools."""
    world.found()
    world.identity("bot", metadata={"role": "reader"})
    world.cedar(ADMINS)


def test_a_property_that_is_not_allowed_takes_no_part(world: World) -> None:
    only_admins(world)
    assert not claims(world)
    allow(world, subject_properties=("rank",), resource_properties=("role",))
    assert not claims(world)
    assert world.bodies()[-1].get("claimed") is None


def test_one_that_is_allowed_takes_the_place_of_the_stored_one_for_this_question(world: World) -> None:
    """The record names what was claimed, and the decision is proved from it again."""
    only_admins(world)
    allow(world, subject_properties=("role",))
    assert claims(world)
    assert world.bodies()[-1]["claimed"] == {"principal": ["role"], "resource": []}
    assert not claims(world, "writer")
    assert not is_allowed(evaluate(world, asked(tool_call("bot"))))
    assert prove(chronicle(world)).difference is None


def test_properties_of_a_resource_are_its_attributes(world: World) -> None:
    house(world, resource_properties=("server",))
    world.cedar(
        'forbid(principal, action == Action::"tool.call", resource)'
        ' when { resource has server && resource.server == "x" };'
    )
    for server, allowed in (("x", False), ("y", True)):
        question = asked(tool_call("bot"), resource_properties={"server": server, "other": 1})
        assert is_allowed(evaluate(world, question)) is allowed
    assert "claimed" not in world.bodies()[-1]
    allow(world, resource_properties=("colour",))
    with pytest.raises(ValidationFailed) as caught:
        evaluate(world, asked(tool_call("bot"), resource_properties={"colour": "red"}))
    assert caught.value.field == "resource.attributes.colour"


def test_properties_of_a_resource_that_is_an_identity_are_its_tags(world: World) -> None:
    house(world, resource_properties=("site",))
    world.identity("peer")
    world.cedar(
        'forbid(principal, action == Action::"payment.create", resource is Agent)'
        ' when { resource.hasTag("site") && resource.getTag("site") == "x" };'
    )
    pay = replaced(payment("1", "bot"), action="payment.create", resource=ResourceRef("agent", "peer"))
    assert is_allowed(evaluate(world, asked(pay)))
    assert not is_allowed(evaluate(world, asked(pay, resource_properties={"site": "x"})))
    assert world.bodies()[-1]["claimed"] == {"principal": [], "resource": ["site"]}


def test_nobody_becomes_an_admin_as_the_resource_of_its_own_action(tmp_path: Path) -> None:
    """Of one that acts on itself only that may be said which may be said of subjects and of resources."""
    admins = 'permit(principal is Agent, action, resource) when { principal.hasTag("role") };'
    with World(tmp_path, files=files(admins)) as world:
        world.found()
        world.identity("bot", "root")
        itself = call("bot", resource=("agent", "bot"))
        said: dict[str, object] = {"role": "admin"}
        allow(world, resource_properties=("role",))
        assert not is_allowed(evaluate(world, asked(itself, resource_properties=said)))
        assert not is_allowed(evaluate(world, asked(itself, subject_properties=said, resource_properties=said)))
        allow(world, subject_properties=("role",), resource_properties=("role",))
        assert not is_allowed(evaluate(world, asked(itself, resource_properties=said)))
        assert is_allowed(evaluate(world, asked(itself, subject_properties=said, resource_properties=said)))


# --- Several ----------------------------------------------------------------------------------------------------------


def test_a_mistake_counts_as_denied_and_fails_no_other_question(world: World) -> None:
    """They keep their places, also among more questions than are looked at in one go."""
    house(world)
    good = asked(tool_call("bot"))
    unfit = asked(replaced(tool_call("bot"), context={"x": 1}))
    answered = evaluate_all(world, BAD, good, asked(tool_call("ghost")), *[good] * SLICE, unfit)
    assert verdicts(answered) == [False, True, False, *[True] * SLICE, False]
    assert answered.outcomes[0] is BAD
    assert world.kinds().count("decision") == SLICE + 1


def test_a_denial_that_decides_all_may_be_a_mistake(world: World) -> None:
    """What stands behind it is not looked at."""
    house(world)
    good, dear = asked(payment("10", "bot")), asked(payment("30", "bot"))
    world.budget(limit(25))
    assert verdicts(evaluate_all(world, good, BAD, good, semantics="deny_on_first_deny")) == [True, False]
    assert verdicts(evaluate_all(world, dear, BAD, semantics="deny_on_first_deny")) == [False]
    assert verdicts(evaluate_all(world, BAD, dear, good, good, semantics="permit_on_first_permit")) == [
        False,
        False,
        True,
    ]
    assert verdicts(evaluate_all(world, BAD, dear, semantics="permit_on_first_permit")) == [False, False]


def test_of_mistakes_only_nothing_is_decided(world: World) -> None:
    house(world, item_context=True)
    before = world.bodies()
    answered = evaluate_all(world, BAD, BAD)
    assert (verdicts(answered), answered.replayed, answered.item_context) == ([False, False], False, True)
    rehearsed = world.run(world.evaluator.rehearse_all(several(BAD)))
    assert verdicts(rehearsed) == [False]
    assert world.bodies() == before


def test_a_question_of_several_is_no_longer_than_one_alone_may_be(world: World) -> None:
    house(world)
    long = asked(replaced(tool_call("bot"), context={"purpose": "x" * 70_000}))
    answered = evaluate_all(world, long, asked(tool_call("bot")))
    assert isinstance(answered.outcomes[0], TooLarge)
    assert verdicts(answered) == [False, True]


def test_a_rehearsal_of_several_sees_what_those_before_would_hold(world: World) -> None:
    house(world)
    budget_id = world.budget(limit(25)).budget.budget_id
    many = msgspec.structs.replace(several(*[asked(payment("10", "bot"))] * 3), now_us=world.now_us)
    assert verdicts(world.run(world.evaluator.rehearse_all(many))) == [True, True, False]
    assert world.used(budget_id) == (0, 0)


def test_a_key_returns_the_stored_decisions_in_their_places(world: World) -> None:
    house(world)
    questions = (BAD, asked(payment("10", "bot")), asked(tool_call("ghost")))
    first, second = (evaluate_all(world, *questions, key=key()) for _ in range(2))
    assert (first.replayed, second.replayed) == (False, True)
    assert verdicts(first) == verdicts(second) == [False, True, False]
    decided = [each.outcomes[1] for each in (first, second)]
    assert isinstance(decided[0], Answered)
    assert isinstance(decided[1], Answered)
    assert decided[0].decision == decided[1].decision


def test_a_key_is_refused_once_another_question_can_be_decided(world: World) -> None:
    """A stored verdict must never be taken for that of another question."""
    house(world)
    questions = (asked(tool_call("ghost")), asked(payment("10", "bot")))
    evaluate_all(world, *questions, key=key())
    world.identity("ghost")
    before = world.bodies()
    with pytest.raises(IdempotencyConflict):
        evaluate_all(world, *questions, key=key())
    assert world.bodies() == before


@pytest.mark.parametrize("mistake", [Conflict("too many"), TooLarge("too long")])
def test_whatever_a_door_could_not_read_is_a_mistake_of_that_question(world: World, mistake: SidecarError) -> None:
    house(world)
    assert evaluate_all(world, mistake).outcomes == (mistake,)


# --- Beside a control plane -------------------------------------------------------------------------------------------


def test_a_follower_asks_for_a_claimed_tag_what_it_decides_by(tmp_path: Path) -> None:
    """Both rule on the same request, and both logs prove."""
    with Fleet(tmp_path) as fleet:
        plane, follower = fleet.plane, fleet.followers[0].world
        plane.cedar(
            '@id("clerks") forbid(principal, action == Action::"card.authorize", resource)'
            ' unless { principal.hasTag("role") && principal.getTag("role") == "admin" };'
        )
        allow(plane, subject_properties=("role",))
        budget_id = fleet.budget(100)
        evaluator = Evaluator(follower.store, follower.snapshots, follower.authorizer, follower.batches)
        for role, allowed in (("admin", True), ("clerk", False)):
            question = asked(payment("40", "bob"), subject_properties={"role": role})
            call = evaluator.evaluate(OPERATOR, "t_one", question, None, follower.now_us)
            assert is_allowed(follower.run(call)) is allowed
        assert plane.used(budget_id) == (0, 4_000)
        granted = next(body for body in plane.bodies() if "for" in body)
        assert granted["claimed"] == {"principal": ["role"], "resource": []}
        fleet.require_sound()
