"""Policy files become the ones that hold, and only those that fit what is stored; an unchanged set costs nothing."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sidecar.app import loading
from sidecar.app.loading import Stored, Wish, load
from sidecar.core import policy_files
from sidecar.core.audit import fact_hash
from sidecar.core.directory import Identity
from sidecar.core.errors import ConfigurationInvalid, Unavailable
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_files import check_files, checked_by
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.state import readings as kept_readings
from sidecar.state.boot import newest_time
from sidecar.state.environment import Environment, open_environment
from sidecar.state.tenants import DEPLOYMENT
from tests.core.builders import SCHEMA_TEXT, cedar_record, files
from tests.state.builders import a_tenant, reading, writing

PERMIT = '@id("{}") permit (principal, action == Action::"tool.call", resource);'
SMALLER = SCHEMA_TEXT.replace("entity User, Team, Agent in [User, Team, Agent]", "entity User, Agent in [User, Agent]")
OTHER = SCHEMA_TEXT.replace('action "tool.call"', 'action "tool.use"')
GROWN = SCHEMA_TEXT + "\nentity Printer;"


def with_schema(text: str, own: PolicyFiles | None = None) -> PolicyFiles:
    """Files with another schema."""
    return msgspec.structs.replace(own or files(), schemas=(SourceFile("schemas/s.cedarschema", text),))


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store whose one tenant has a team and a policy made by the API."""
    with closing(open_environment(tmp_path / "db", durability="process-crash")) as made:
        load(made, files())
        with writing(made) as txn:
            txn.tenants.add(a_tenant(1))
            part = txn.of(a_tenant(1))
            team = Identity(identity_id="team", parent_id=None, type="team", name="T", created_at_us=0, revision=1)
            part.identities.add("team", team, 1, owner=None)
            part.policies.add("pol_1", cedar_record("pol_1", PERMIT.format("api")), 2, owner=None)
        yield made


def revision(environment: Environment) -> int:
    """How often files were loaded."""
    with reading(environment) as txn:
        return txn.tenants.revisions(DEPLOYMENT).policies


def held(environment: Environment) -> PolicyFiles | None:
    """The files that hold."""
    with reading(environment) as txn:
        return txn.policy_files()


def test_files_that_hold_already_are_not_looked_at(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "check_files", None)
    monkeypatch.setattr(loading, "newest_time", None)
    load(environment, files())
    assert revision(environment) == 1


def test_other_files_take_their_place(environment: Environment) -> None:
    wanted = files(("policies/a.cedar", PERMIT.format("a")), by_tenant={"t_9": (SourceFile("p", PERMIT.format("b")),)})
    load(environment, wanted)
    assert (held(environment), revision(environment)) == (wanted, 2)


def test_files_that_other_checks_let_pass_are_looked_at_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They still hold: nothing is loaded, and the next start looks at nothing."""
    seen: list[PolicyFiles | None] = []

    def checked(wanted: PolicyFiles, passed: PolicyFiles | None) -> object:
        seen.append(passed)
        return check_files(wanted, passed)

    monkeypatch.setattr(loading, "checked", checked)
    monkeypatch.setattr(policy_files, "checked_by", lambda: "stricter")
    load(environment, files())
    load(environment, files())
    assert (seen, revision(environment)) == ([None], 1)
    load(environment, files(("policies/a.cedar", PERMIT.format("a"))))
    assert seen == [None, files()]


def test_what_was_noted_for_other_files_counts_for_nothing(environment: Environment) -> None:
    """A store whose files were replaced by a version that notes no checks."""
    wanted = files(("policies/a.cedar", "no policy"))
    with writing(environment) as txn:
        txn.keep_policy_files(wanted)
    with pytest.raises(ConfigurationInvalid, match=r"a\.cedar:1:4"):
        load(environment, wanted)
    with reading(environment) as txn:
        assert txn.policy_files_checks() == f"{files().digest().hex()} {checked_by()}"


def test_a_schema_that_lost_the_type_of_an_identity_is_refused(environment: Environment) -> None:
    with pytest.raises(ConfigurationInvalid, match="identity `team` has the type `team`, which the schema does not"):
        load(environment, with_schema(SMALLER))
    assert held(environment) == files()


def test_a_schema_may_lose_a_type_that_nobody_has(environment: Environment) -> None:
    with writing(environment) as txn:
        person = Identity(identity_id="team", parent_id=None, type="user", name="A", created_at_us=0, revision=3)
        txn.of(a_tenant(1)).identities.change("team", person, 3)
    load(environment, with_schema(SMALLER))
    assert held(environment) == with_schema(SMALLER)


def test_identities_are_looked_at_where_nobody_knows_what_types_they_can_have(environment: Environment) -> None:
    """The schema that held is one that this engine does not read any more."""
    with writing(environment) as txn:
        txn.keep_policy_files(with_schema("entity"))
    with pytest.raises(ConfigurationInvalid, match="identity `team`"):
        load(environment, with_schema(SMALLER))
    load(environment, with_schema(GROWN))


def test_identities_are_not_looked_at_while_every_type_stays(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "typed_identities", None)
    load(environment, with_schema(GROWN))
    assert held(environment) == with_schema(GROWN)


def test_a_schema_that_a_policy_of_the_api_does_not_fit_is_refused(environment: Environment) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"tenant `t_1`: /v1/policies/pol_1:1:"):
        load(environment, with_schema(OTHER))


def test_policies_of_the_api_are_not_looked_at_while_the_schema_stays(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "owned_policies", None)
    load(environment, files(("policies/a.cedar", PERMIT.format("a"))))
    assert revision(environment) == 2


@pytest.mark.parametrize("where", ["all", "t_1", "t_2"])
def test_a_file_that_takes_the_id_of_a_policy_of_the_api_is_refused_where_it_holds(
    environment: Environment, where: str
) -> None:
    text = PERMIT.format("pol_1/api")
    own = {} if where == "all" else {where: (SourceFile("policies/x.cedar", text),)}
    wanted = files(*((("policies/x.cedar", text),) if where == "all" else ()), by_tenant=own)
    if where == "t_2":
        load(environment, wanted)
    else:
        with pytest.raises(ConfigurationInvalid, match="tenant `t_1`: two policies have the id `pol_1/api`"):
            load(environment, wanted)


def test_a_tenant_without_policies_of_the_api_has_no_ids_to_lose(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.of(a_tenant(1)).policies.remove("pol_1", 3)
    load(environment, with_schema(OTHER, files(("policies/a.cedar", ""))))
    load(
        environment,
        with_schema(OTHER, files(("policies/a.cedar", '@id("pol_1/api") forbid (principal, action, resource);'))),
    )
    assert revision(environment) == 3


# --- What is read out of policies


def readings(environment: Environment, *sources: SourceFile) -> list[list[str] | None]:
    """The ids that were read out of each of these, None for what nobody has read."""
    with reading(environment) as txn:
        found = [txn.readings.of(each) for each in sources]
    return [None if units is None else [unit.id for unit in units] for units in found]


def test_what_is_in_the_files_that_hold_is_kept(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """What did not change is not read again, and what holds no longer is forgotten."""
    first, second, third = (SourceFile(f"policies/{name}.cedar", PERMIT.format(name)) for name in "abc")
    load(environment, files((first.path, first.text), by_tenant={"t_9": (second,)}))
    assert readings(environment, first, second, third) == [["a"], ["b"], None]
    read: list[str] = []

    def counted(text: str, file: str, *, shared: bool) -> tuple[PolicyUnit, ...]:
        read.append(file)
        return read_statements(text, file, shared=shared)

    monkeypatch.setattr(loading, "read_statements", counted)
    load(environment, files((first.path, first.text), by_tenant={"t_9": (third,)}))
    assert readings(environment, first, second, third) == [["a"], None, ["c"]]
    assert read == [third.path]


def test_another_version_reads_all_policies_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that the API made, and files that were loaded before their texts were kept for all tenants."""
    file, policy = SourceFile("policies/a.cedar", PERMIT.format("a")), cedar_record("pol_1", PERMIT.format("api"))
    load(environment, files((file.path, file.text)))
    assert readings(environment, file, policy.source) == [["a"], None]
    with environment.begin_write() as raw:
        raw.drop(environment.tables["facts"], delete=False)
    monkeypatch.setattr(kept_readings, "read_by", lambda: b"x" * 32)
    assert readings(environment, file) == [None]
    load(environment, files((file.path, file.text)))
    assert readings(environment, file, policy.source) == [["a"], ["api"]]
    with reading(environment) as txn:
        assert txn.of(a_tenant(1)).audit.fact(fact_hash(file.text.encode()), 0) == file.text.encode()
    monkeypatch.setattr(loading, "read_statements", None)
    load(environment, files((file.path, file.text)))
    assert revision(environment) == 2


# --- Beside a running server


def test_files_whose_tests_fail_do_not_hold_and_those_that_hold_are_not_tested(environment: Environment) -> None:
    tried: list[PolicyFiles] = []

    def trial(candidate: PolicyFiles) -> str | None:
        tried.append(candidate)
        return "`a.test.yaml`: 1 of 2 tests fails" if candidate.shared else None

    wanted = files(("policies/a.cedar", PERMIT.format("a")))
    with pytest.raises(ConfigurationInvalid, match="1 of 2 tests fails"):
        load(environment, wanted, trial)
    assert (held(environment), tried) == (files(), [wanted])
    assert load(environment, files(), trial).outcome == "unchanged"
    assert load(environment, with_schema(GROWN), trial).outcome == "loaded"
    assert tried == [wanted, with_schema(GROWN)]


def test_a_load_is_noted_for_every_log(environment: Environment) -> None:
    wanted = files(("policies/a.cedar", PERMIT.format("a")))
    assert load(environment, wanted, wish=Wish("watch", b"seen")).before == files().digest()
    with reading(environment) as txn:
        untold, tried = txn.untold_load(), txn.policies_tried()
    assert untold is not None
    assert (untold.loaded.digest, untold.loaded.files, untold.loaded.by) == (wanted.digest(), 2, "watch")
    assert tried is not None
    assert tried.content == b"seen"


def between(monkeypatch: pytest.MonkeyPatch, run: Callable[[int], None]) -> None:
    """Run something in front of each transaction that switches, with its number from 0."""
    count = iter(range(100))
    known = newest_time

    def interfered(environment: Environment) -> int:
        run(next(count))
        return known(environment)

    monkeypatch.setattr(loading, "newest_time", interfered)


def test_a_tenant_that_changes_behind_the_look_is_looked_at_again(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that does not fit the new schema is made between the look and the switch."""
    with writing(environment) as txn:
        txn.of(a_tenant(1)).policies.remove("pol_1", txn.tenants.advance(1, policies=True))

    def interfere(_number: int) -> None:
        with writing(environment) as txn:
            revision = txn.tenants.advance(1, policies=True)
            txn.of(a_tenant(1)).policies.add("pol_2", cedar_record("pol_2", PERMIT.format("api")), revision, owner=None)

    between(monkeypatch, interfere)
    with pytest.raises(ConfigurationInvalid, match=r"tenant `t_1`: /v1/policies/pol_2:1:"):
        load(environment, with_schema(OTHER))
    assert held(environment) == files()


@pytest.mark.parametrize("identity_type", ["user", "team"])
def test_a_tenant_that_changes_all_the_time_is_looked_at_inside_the_switch(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, identity_type: str
) -> None:
    """So it ends, and still nothing is switched that does not fit."""
    with writing(environment) as txn:
        person = Identity(identity_id="team", parent_id=None, type="user", name="A", created_at_us=0, revision=3)
        txn.of(a_tenant(1)).identities.change("team", person, 3)
    looks: list[int] = []
    look = Stored.look

    def change(stored: Stored) -> None:
        look(stored)
        looks.append(1)
        with writing(environment) as txn:
            revision = txn.tenants.advance(1)
            if len(looks) == loading.TRIES_MAX:
                other = msgspec.structs.replace(person, type=identity_type)
                txn.of(a_tenant(1)).identities.change("team", other, revision)

    monkeypatch.setattr(Stored, "look", change)
    if identity_type == "user":
        load(environment, with_schema(SMALLER))
        assert held(environment) == with_schema(SMALLER)
    else:
        with pytest.raises(ConfigurationInvalid, match="identity `team`"):
            load(environment, with_schema(SMALLER))
        assert held(environment) == files()
    assert len(looks) == loading.TRIES_MAX


def test_files_that_somebody_else_loaded_meanwhile_are_not_replaced(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = files(("policies/b.cedar", PERMIT.format("b")))

    def interfere(_number: int) -> None:
        with writing(environment) as txn:
            txn.keep_policy_files(other)

    between(monkeypatch, interfere)
    with pytest.raises(Unavailable, match="other policy files were loaded meanwhile"):
        load(environment, files(("policies/a.cedar", PERMIT.format("a"))))
    assert held(environment) == other


def test_texts_are_kept_in_parts_that_are_small(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """No decision waits for all of them."""
    monkeypatch.setattr(loading, "FILES_AT_ONCE", 2)
    monkeypatch.setattr(loading, "LENGTH_AT_ONCE", 400)
    texts = {name: PERMIT.format(name) for name in "abcdef"} | {"b": f"{PERMIT.format('b')} // {'x' * 500}"}
    many = files(*((f"policies/{name}.cedar", text) for name, text in texts.items()))
    load(environment, many)
    assert readings(environment, *many.shared) == [[name] for name in "abcdef"]
