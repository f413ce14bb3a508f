"""A tenant held in memory decides as the stored one does."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sidecar.core.cards import Card
from sidecar.core.errors import NotFound
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.core.rules import Rules
from sidecar.core.snapshot import TenantPolicies, compile_files, compile_tenant
from sidecar.service.card_drafts import CardDraft
from sidecar.service.judgement import Judgement
from sidecar.service.owned_policies import owned_policies
from sidecar.service.scene import Scene, Trial
from sidecar.service.store import Revisions
from sidecar.service.treasury import CardDesk
from tests.core.builders import budget, identity
from tests.service.builders import OPERATOR, World, limit, payment, shipped_files, tool_call


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        made.tenant()
        made.identity("agent")
        yield made


def policies_of(world: World) -> TenantPolicies:
    with world.look() as part:
        return compile_tenant(
            compile_files(shipped_files()), part.tenant.tenant_id, owned_policies(part, Revisions(0, 0)).all()
        )


def scene_of(world: World) -> Scene:
    """The tenant as it is now."""
    with world.look() as part:
        scene = Scene(part.tenant)
        for kind in (part.identities, part.cards, part.budgets):
            for listed in kind.all():
                scene.put(listed.value)
    return scene


def rehearsed(world: World, request: AuthorizeRequest) -> Decision:
    return world.authorizer.rehearse(OPERATOR, "t_one", request, world.now_us).decision


def told(judgement: Judgement) -> tuple[object, ...]:
    return judgement.allowed, judgement.reasons, judgement.findings.checks


def test_a_trial_decides_as_the_store_does(world: World) -> None:
    """Permit, denial by policy, by budget and by a block: the reasons and the checks are the same ones."""
    world.budget(limit("100"))
    world.budget(limit("70", "agent", period="rolling_24h"))
    desk = CardDesk(world.store, world.treasurer, world.ids)
    draft = CardDraft(identity_id="agent", currency="CAD", allowed_mccs=("5734",))
    card: Card = world.run(desk.create(OPERATOR, "t_one", draft, None, world.now_us)).value.card
    trial = Trial(scene_of(world), policies_of(world))
    requests = [
        payment("40", "agent"),
        payment("80", "agent"),
        payment("101", "agent"),
        payment("5", "agent", currency="EUR"),
        tool_call("agent", tool="shell"),
        msgspec.structs.replace(payment("5", "agent"), card_id=card.card_id, merchant_category="5734"),
        msgspec.structs.replace(payment("5", "agent"), card_id=card.card_id, merchant_category="5999"),
    ]
    for request in requests:
        real = rehearsed(world, request)
        assert told(trial.decide(request, world.now_us)) == (real.allowed, real.reasons, real.budget_checks)


def test_a_change_of_the_scene_is_seen_by_the_next_request(world: World) -> None:
    """What did not change is not read again."""
    made = world.budget(limit("100"))
    scene = scene_of(world)
    trial = Trial(scene, policies_of(world))
    request = payment("101", "agent")
    assert [reason.code for reason in trial.decide(request, world.now_us).denials] == ["budget_exceeded"]
    assert trial.view("agent") is trial.view("agent")
    scene.drop_budget(made.budget.budget_id)
    scene.drop_budget("bud_unknown")
    assert trial.decide(request, world.now_us).allowed
    scene.put(msgspec.structs.replace(made.budget, limit=1))
    assert not trial.decide(request, world.now_us).allowed
    scene.put(msgspec.structs.replace(made.budget, limit=10**9))
    assert trial.decide(request, world.now_us).allowed
    agent = scene.identities.get("agent")
    assert agent is not None
    scene.put(msgspec.structs.replace(agent, status="suspended"))
    assert [reason.code for reason in trial.decide(request, world.now_us).denials] == ["identity_suspended"]
    with pytest.raises(NotFound):
        trial.decide(payment("1", "nobody"), world.now_us)


def test_other_policies_take_over_whole(world: World) -> None:
    trial = Trial(scene_of(world), policies_of(world))
    assert trial.decide(payment("50", "agent"), world.now_us).allowed
    world.grant(rules=Rules(actions=("tool.call",)))
    bare = compile_tenant(compile_files(shipped_files()), "t_one", [])
    trial.turn_to(bare)
    assert not trial.decide(payment("50", "agent"), world.now_us).allowed


def test_budgets_are_listed_in_the_order_in_which_they_came(world: World) -> None:
    """A changed one keeps its place; one that comes back is last."""
    scene = Scene(scene_of(world).tenant)
    scene.put(identity())
    for name in ("bud_b", "bud_a"):
        scene.put(budget(name))
    scene.put(budget("bud_b", limit=1))
    assert [each.value.budget_id for each in scene.budgets.owned("bot")] == ["bud_b", "bud_a"]
    scene.drop_budget("bud_b")
    scene.put(budget("bud_b"))
    assert [each.value.budget_id for each in scene.budgets.owned("bot")] == ["bud_a", "bud_b"]
    assert list(scene.budgets.owned("nobody")) == []
