"""What other policy files would have made of a history is reported exactly: each flip, its cause, and its money."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.audit import encode_hash, fact_hash
from sidecar.core.errors import ConfigurationInvalid, PolicyInvalid, ValidationFailed
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service.chronicle import FactMissing
from sidecar.service.courses import Candidate, Ground
from sidecar.service.past_scene import ErasableShelf
from sidecar.service.replay import Cause, Comparison, Flip, Span, against_candidate, between, compare
from tests.service.builders import HOUR, World, limit, only_schemas, payment, shipped_files, tool_call
from tests.service.histories import Doctored, Life, chronicle, prove, retried, variants

THEN = {"AWS", "GCP"}
"""Merchants that the policy of then forbids."""


def forbidding(*merchants: str, name: str = "no") -> str:
    """A policy that forbids payments to some merchants."""
    named = ", ".join(f'Merchant::"{merchant}"' for merchant in sorted(merchants))
    condition = f"[{named}].contains(resource)" if merchants else "false"
    scope = 'principal, action == Action::"card.authorize", resource'
    return f'@id("{name}/merchants") forbid ({scope}) when {{ {condition} }};'


def flip_of(found: Comparison) -> Flip:
    (flip,) = found.flips
    return flip


class Step(msgspec.Struct, frozen=True):
    """One payment of the property, and how its hold ends where it was permitted."""

    amount: int
    merchant: str
    ending: str


STEPS = st.lists(
    st.builds(
        Step,
        st.integers(1, 40),
        st.sampled_from(("AWS", "GCP", "IBM", "SAP")),
        st.sampled_from(("settle", "release", "part", "refund", "hold")),
    ),
    max_size=14,
)


def kept_of(step: Step) -> int:
    """What a permit keeps of the budget in the end."""
    return {"settle": step.amount, "hold": step.amount, "release": 0, "part": 1, "refund": step.amount - 1}[step.ending]


def verdicts(steps: Sequence[Step], forbidden: set[str], room: int, then: list[bool] | None = None) -> list[bool]:
    """The obvious model: what is forbidden or does not fit is denied; a denial of ``then`` is settled in full."""
    used, found = 0, []
    for number, step in enumerate(steps):
        allowed = step.merchant not in forbidden and used + step.amount <= room
        found.append(allowed)
        if allowed:
            used += kept_of(step) if then is None or then[number] else step.amount
    return found


def live(world: World, steps: Sequence[Step]) -> list[str]:
    """Let the steps happen; returns the ids of their decisions."""
    ids = []
    for step in steps:
        decision = world.decide(payment(step.amount * 100, merchant=step.merchant))
        decision_id = decision.decision_id or ""
        ids.append(decision_id)
        if decision.allowed and step.ending != "hold":
            match step.ending:
                case "release":
                    world.release(decision_id)
                case "part":
                    world.settle(decision_id, "1")
                case "settle":
                    world.settle(decision_id)
                case _:
                    world.settle(decision_id)
                    world.refund(decision_id, "1")
    return ids


@given(steps=STEPS, now=st.sets(st.sampled_from(("AWS", "GCP", "IBM", "SAP"))), room=st.integers(20, 200))
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_exactly_the_decisions_that_a_change_flips_are_reported(steps: list[Step], now: set[str], room: int) -> None:
    """In both directions, what follows for a budget that is shared by all of them included."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), files=only_schemas(forbidding(*THEN))) as world:
        world.tenant()
        world.budget(limit(room, period="total"))
        ids = live(world, steps)
        then = verdicts(steps, THEN, room)
        comes = verdicts(steps, now, room, then)
        found = retried(chronicle(world), only_schemas(forbidding(*now)))
        expected = [
            (decision_id, "allow" if was else "deny", "allow" if is_now else "deny")
            for decision_id, was, is_now in zip(ids, then, comes, strict=True)
            if was is not is_now
        ]
        assert [(flip.decision_id, flip.before, flip.after) for flip in found.flips] == expected
        assert found.decisions == len(steps)
        assert prove(chronicle(world)).is_exact


@given(seed=st.integers(0, 2**32), which=st.integers(0, 4))
@settings(max_examples=4, suppress_health_check=list(HealthCheck))
def test_flips_are_told_of_any_history(seed: int, which: int) -> None:
    """Whatever happened, the other way round the same flips come out between two candidates."""
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        Life(world, seed).live(80)
        old, new = shipped_files(), list(variants())[which]
        one = compare(chronicle(world), between(Candidate(old), Candidate(new)), Span(), lambda _: None)
        other = compare(chronicle(world), between(Candidate(new), Candidate(old)), Span(), lambda _: None)
        assert [(flip.seq, flip.before) for flip in one.flips] == [(flip.seq, flip.after) for flip in other.flips]
        assert one.suspended_only_before == other.suspended_only_after


# What made the difference.


def test_a_new_forbid_is_the_cause_of_a_denial(world: World) -> None:
    """Named with its place, what was asked, and both reasons."""
    world.tenant()
    decision = world.decide(payment("12.50", merchant="IBM"))
    flip = flip_of(retried(chronicle(world), only_schemas(forbidding("IBM"))))
    assert (flip.tenant_id, flip.decision_id, flip.now_us) == ("t_one", decision.decision_id, world.now_us)
    assert (flip.identity_id, flip.action, flip.resource_type, flip.resource_id) == (
        "root",
        "card.authorize",
        "merchant",
        "IBM",
    )
    assert (flip.amount_minor, flip.currency, flip.before, flip.after) == (1_250, "CAD", "allow", "deny")
    assert flip.cause == Cause("policy", "no/merchants", "policies/extra0.cedar:1")
    assert [ground.code for ground in flip.reasons_before] == ["permitted"]
    assert flip.reasons_before[0].policy_id is not None
    assert flip.reasons_after[0].message == "forbidden by `no/merchants`"


def test_a_forbid_that_is_gone_is_the_cause_of_a_permit(tmp_path: Path) -> None:
    """Its name and place are those of then; where its text was erased, the name alone is known."""
    with World(tmp_path, files=only_schemas(forbidding("AWS"))) as world:
        world.tenant()
        world.decide(payment())
        flip = flip_of(retried(chronicle(world), only_schemas()))
        assert (flip.before, flip.after) == ("deny", "allow")
        assert flip.cause == Cause("policy", "no/merchants", "policies/extra0.cedar:1")
        text = forbidding("AWS").encode()
        flip = flip_of(retried(Doctored(chronicle(world), erased={_address(text)}), only_schemas()))
        assert flip.cause == Cause("policy", "no/merchants")


def _address(content: bytes) -> str:
    return encode_hash(fact_hash(content))


def test_a_policy_that_never_was_is_named_as_the_record_has_it(world: World) -> None:
    """The proof says what is wrong with such a record; the candidate's report can still be made."""
    world.tenant()
    world.identity("bob")
    world.decide(payment("10", "bob"))

    def edit(record: dict[str, object]) -> None:
        if record["type"] == "decision":
            record["matched"] = ["pol_never"]

    no = only_schemas('@id("no") forbid (principal, action, resource);')
    (flip,) = retried(Doctored(chronicle(world), edit=edit), no).flips
    assert [each.policy_id for each in flip.reasons_before] == ["pol_never"]


def test_a_permit_that_is_gone_or_new_is_the_cause(tmp_path: Path) -> None:
    """Where nothing permits any more, or nothing did."""
    grant = '@id("grant/tools") permit (principal, action == Action::"tool.call", resource);'
    with World(tmp_path, files=only_schemas(grant)) as world:
        world.found()
        world.decide(tool_call())
        world.decide(payment())
        flip = flip_of(retried(chronicle(world), only_schemas()))
        assert flip.cause == Cause("policy", "grant/tools", "policies/extra0.cedar:1")
        assert (flip.amount_minor, flip.reasons_after[0].code) == (None, "not_permitted")
        wider = 'permit (principal, action == Action::"card.authorize", resource);'
        flip = flip_of(retried(chronicle(world), only_schemas(grant, wider)))
        assert flip.cause == Cause("policy", "extra1.cedar#1", "policies/extra1.cedar:1")


def test_what_holds_nothing_is_settled_without_a_trace(tmp_path: Path) -> None:
    """A tool call that would have been permitted has no amount to spend, and may count all the same."""
    denies = '@id("no/tools") forbid (principal, action == Action::"tool.call", resource);'
    with World(tmp_path, files=only_schemas(denies)) as world:
        world.tenant()
        world.decide(tool_call())
        found = world.budget(limit("1", dimension="count", currency=None)).budget.budget_id
        world.decide(tool_call())
        world.load(only_schemas())
        world.decide(tool_call())
        flips = retried(chronicle(world), only_schemas()).flips
        assert [(flip.after, flip.cause.id) for flip in flips] == [
            ("allow", "no/tools"),
            ("allow", "no/tools"),
            ("deny", found),
        ]


def test_a_rule_of_the_api_is_named_by_its_policy(world: World) -> None:
    """Policies made by the API stay in force: their denial cannot flip, what they permit can."""
    world.found()
    made = world.grant(rules=Rules(actions=("card.authorize",), max_amount=Major("30"), currencies=("CAD",)))
    world.decide(payment("20"))
    world.decide(payment("40"))
    flip = flip_of(retried(chronicle(world), only_schemas(forbidding("AWS"))))
    assert flip.reasons_before == (Ground(code="permitted", policy_id=made, source=f"/v1/policies/{made}:1"),)


def test_a_policy_that_fails_is_the_cause(tmp_path: Path) -> None:
    """Now, or then."""
    faulty = """@id("faulty") permit (principal, action == Action::"card.authorize", resource)
when { context.amount * 9223372036854775807 > 0 };"""
    with World(tmp_path, files=only_schemas(faulty)) as world:
        world.tenant()
        world.decide(payment())
        flip = flip_of(retried(chronicle(world), only_schemas()))
        assert (flip.cause.id, flip.reasons_before[0].code) == ("faulty", "policy_error")
        world.load(only_schemas())
        world.decide(payment())
        flip = retried(chronicle(world), only_schemas(faulty)).flips[-1]
        assert (flip.cause.id, flip.reasons_after[0].code) == ("faulty", "policy_error")


def test_a_budget_is_the_cause_of_what_follows(world: World) -> None:
    """A denial that becomes a permit spends what a later permit needs, and the other way round."""
    world.load(only_schemas(forbidding("AWS")))
    world.tenant()
    total = world.budget(limit("100", period="total")).budget.budget_id
    once = world.budget(limit("90", period="per_transaction")).budget.budget_id
    world.decide(payment("80", merchant="AWS"))
    world.decide(payment("80", merchant="IBM"))
    world.decide(payment("25", merchant="SAP"))
    world.decide(payment("91", merchant="SAP"))
    first, second = retried(chronicle(world), only_schemas()).flips
    assert (first.after, second.after) == ("allow", "deny")
    assert second.cause == Cause("budget", total)
    found = retried(chronicle(world), only_schemas(forbidding("IBM")))
    assert [(flip.resource_id, flip.before) for flip in found.flips] == [("AWS", "deny"), ("IBM", "allow")]
    found = retried(chronicle(world), only_schemas(forbidding("IBM", "AWS")))
    assert [flip.cause for flip in found.flips] == [
        Cause("policy", "no/merchants", "policies/extra0.cedar:1"),
        Cause("budget", total),
    ]
    assert found.flips[1].reasons_before == (Ground(code="budget_exceeded", budget_id=total),)
    assert once not in {flip.cause.id for flip in found.flips}


def schema_with(old: str, new: str) -> PolicyFiles:
    """The shipped schema changed in one place, without policies."""
    files = tuple(SourceFile(file.path, file.text.replace(old, new)) for file in shipped_files().schemas)
    assert files != shipped_files().schemas
    return PolicyFiles(schemas=files, shared=(), by_tenant={})


def test_a_request_that_does_not_fit_the_schema_is_denied_with_its_sentence(world: World) -> None:
    """The schema is what made the difference."""
    world.found()
    world.cedar("permit (principal, action, resource);")
    world.decide(tool_call(quantities={"tokens": 5}))
    world.decide(payment())
    text = shipped_files().schemas[0].text
    start = text.index('action "card.authorize"')
    block = text[start : text.index("};", start)]
    files = schema_with(block, block.replace("purpose?: String", "purpose: String"))
    flip = flip_of(retried(chronicle(world), files))
    assert flip.cause == Cause("schema", "schema")
    assert flip.reasons_after[0].code == "validation_failed"
    assert "purpose" in (flip.reasons_after[0].message or "")
    old, new = Candidate(files), Candidate(only_schemas())
    flip = flip_of(compare(chronicle(world), between(old, new), Span(), lambda _: None))
    assert (flip.cause, flip.before) == (Cause("schema", "schema"), "deny")


def test_an_action_that_the_schema_knows_no_more_is_denied(world: World) -> None:
    """What permitted then is named."""
    world.found()
    permit = world.cedar("permit (principal, action, resource);")
    world.decide(payment())
    flip = flip_of(retried(chronicle(world), schema_with('action "card.authorize"', 'action "card.pay"')))
    assert (flip.reasons_after[0].code, flip.cause.kind, flip.cause.id) == ("not_permitted", "policy", permit)


def test_budgets_that_govern_by_groups_follow_the_schema(world: World) -> None:
    """A currency that no budget has is a matter of which budgets govern the action."""
    world.found()
    world.cedar("permit (principal, action, resource);")
    world.budget(limit("50", actions=("use",)))
    world.decide(payment("5", currency="EUR"))
    files = schema_with('action "card.authorize" in [spend]', 'action "card.authorize" in [spend, use]')
    flip = flip_of(retried(chronicle(world), files))
    assert (flip.cause.kind, flip.reasons_after[0].code) == ("schema", "currency_not_budgeted")


# What is told, and what is not.


def test_suspensions_are_those_of_then(world: World) -> None:
    """One that the candidate would not have made stays, one that it would have made is not added; both are counted."""
    world.load(only_schemas(forbidding("GCP")))
    world.tenant()
    world.identity("bob")
    world.identity("eve")
    world.budget(limit("50", "bob", period="total", on_exceeded="suspend"))
    world.budget(limit("50", "eve", period="total", on_exceeded="suspend"))
    world.decide(payment("60", "bob"))
    world.decide(payment("10", "bob"))
    world.decide(payment("45", "eve", merchant="GCP"))
    world.decide(payment("10", "eve"))
    world.decide(payment("10", "eve"))
    found = retried(chronicle(world), only_schemas(forbidding("AWS")))
    assert (found.suspended_only_before, found.suspended_only_after) == (1, 0)
    found = retried(chronicle(world), only_schemas())
    assert (found.suspended_only_before, found.suspended_only_after) == (0, 2)
    assert [flip.after for flip in found.flips] == ["allow", "deny", "deny"]


def test_only_decisions_of_the_span_are_told_of(world: World) -> None:
    """The fold begins at record 0 all the same: what was spent before counts."""
    world.load(only_schemas(forbidding("GCP")))
    world.tenant()
    total = world.budget(limit("100", period="total")).budget.budget_id
    began = world.now_us
    world.decide(payment("80", merchant="GCP"))
    world.now_us += HOUR
    world.decide(payment("80"))
    world.now_us += HOUR
    world.decide(payment("10"))
    found = retried(chronicle(world), only_schemas(), Span(began + 1, began + 2 * HOUR))
    assert (found.decisions, flip_of(found).cause) == (1, Cause("budget", total))
    assert (found.first_us, found.last_us) == (began + HOUR, began + HOUR)
    nothing = retried(chronicle(world), only_schemas(), Span(began - 2, began - 1))
    assert (nothing.decisions, nothing.flips, nothing.first_us, nothing.last_us) == (0, (), None, None)
    whole = retried(chronicle(world), only_schemas())
    assert (whole.first_us, whole.last_us, whole.decisions) == (began, began + 2 * HOUR, 3)


def test_what_is_missing_is_named_and_not_guessed(world: World) -> None:
    """What the missing decision booked stays booked; outside of the span it is not told of."""
    world.tenant()
    world.identity("bob")
    world.budget(limit("100", period="total"))
    world.decide(payment("80", "bob"))
    world.decide(payment("30"))
    records = [body for body in world.bodies() if body["type"] == "decision"]
    gone = Doctored(chronicle(world), erased={str(records[0]["request"])})
    found = retried(gone, only_schemas())
    assert (found.decisions, found.flips, found.missing_count) == (1, (), 1)
    assert (found.missing[0].seq, found.missing[0].what) == (records[0]["i"], "the request")
    assert retried(gone, only_schemas(), Span(from_us=world.now_us + 1)).missing_count == 0
    chain = records[0]["chain"]
    assert isinstance(chain, list)
    found = retried(Doctored(chronicle(world), erased={chain[0][2]}), only_schemas())
    assert [each.decision_id for each in found.missing] == [None, records[0]["decision"]]


# What cannot be used.


def test_files_that_do_not_parse_are_refused() -> None:
    with pytest.raises(PolicyInvalid, match=r"policies/extra0.cedar:1:\d+"):
        Candidate(only_schemas("permit (principal"))


def test_a_policy_of_then_that_does_not_go_with_the_candidate_is_named(world: World) -> None:
    """It does not fit the schema, or its id is in a file as well."""
    world.found()
    made = world.cedar('@id("mine") permit (principal, action == Action::"tool.call", resource);')
    world.decide(tool_call())
    files = schema_with('action "tool.call"', 'action "tool.use"')
    with pytest.raises(ConfigurationInvalid, match=f"does not fit the schema: /v1/policies/{made}:1"):
        retried(chronicle(world), files)
    taken = f'@id("{made}/mine") permit (principal, action, resource);'
    with pytest.raises(ConfigurationInvalid, match="the policies of tenant `t_one`: two policies have the id"):
        retried(chronicle(world), only_schemas(taken))


def test_a_history_that_cannot_be_read_is_named(world: World) -> None:
    """With its place; proving it first says more."""
    world.tenant()

    def edit(record: dict[str, object]) -> None:
        if record["i"] == 2:
            record["chain"] = 5

    with pytest.raises(ValidationFailed, match="record 2 of tenant `t_one`: the record cannot be read"):
        retried(Doctored(chronicle(world), edit=edit), only_schemas())
    empty = Doctored(chronicle(world), cut=0)
    with pytest.raises(ValidationFailed, match="record 0 of tenant `t_one`: the log is empty"):
        retried(empty, only_schemas())


def test_it_is_told_how_far_the_work_has_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.service.replay.CHUNK", 2)
    world.tenant()
    heard: list[int] = []
    compare(chronicle(world), against_candidate(Candidate(only_schemas())), Span(), heard.append)
    assert heard == [0, 2, 4]


def test_what_was_erased_is_known_again_by_a_later_version() -> None:
    """Unless it has an owner: what that one used meanwhile stays unknown."""
    shelf: ErasableShelf[str] = ErasableShelf()
    shelf.lose("a", "version 1 of a")
    with pytest.raises(FactMissing, match="version 1 of a"):
        shelf.get("a")
    shelf.put("a", "second")
    assert shelf.get("a") == "second"
    shelf.lose("b", "version 1 of b", "owner")
    shelf.put("b", "second", "owner")
    with pytest.raises(FactMissing):
        shelf.get("b")
    with pytest.raises(FactMissing):
        shelf.owned("owner")
    shelf.drop("b", "owner")
    assert list(shelf.owned("owner")) == []
