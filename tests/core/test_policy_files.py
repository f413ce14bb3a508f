"""Policy files hold only when all of them pass; what has passed before is not parsed again; nothing slips through."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core import policy_files
from sidecar.core.errors import PolicyInvalid, ValidationFailed
from sidecar.core.policy import CompiledSchema, compile_schema, engine
from sidecar.core.policy_compilation import check_statements, compile_statements, named_statements, read_statements
from sidecar.core.policy_files import check_files, check_records, checked_by, may_take_id_of_api
from sidecar.core.policy_set import require_distinct
from sidecar.core.snapshot import PolicyFiles, SourceFile
from tests.core.builders import SCHEMA, SCHEMA_TEXT, cedar_record, files

PERMIT = '@id("{}") permit (principal, action == Action::"tool.call", resource);'
FLY = '@id("{}") permit (principal, action == Action::"fly", resource);'
GROWN = SCHEMA_TEXT + '\naction "fly" appliesTo { principal: [Agent], resource: [Tool] };'
READS = 'permit (principal, action, resource) when { User::"ann".name == "Ann" };'
ESCAPED = PERMIT.format(r"\u{6f}ne")


def thoroughly(wanted: PolicyFiles) -> None:
    """Compile everything, as plainly as possible."""
    schema = compile_schema(tuple((file.path, file.text) for file in wanted.schemas))
    shared = [unit for each in wanted.shared for unit in compile_statements(each.text, each.path, schema, shared=True)]
    require_distinct(shared)
    for own in wanted.by_tenant.values():
        units = [unit for each in own for unit in compile_statements(each.text, each.path, schema, shared=False)]
        require_distinct([*shared, *units])


def passes(wanted: PolicyFiles) -> bool:
    """Whether everything compiles."""
    try:
        thoroughly(wanted)
    except (PolicyInvalid, ValidationFailed):
        return False
    return True


TEXTS = st.lists(
    st.sampled_from([PERMIT.format("one"), PERMIT.format("two"), PERMIT, FLY, READS, ESCAPED, "oops", "// none"]),
    max_size=2,
).map("\n".join)
SOURCES = st.lists(
    st.builds(SourceFile, st.sampled_from(["policies/a", "policies/b"]), TEXTS),
    max_size=2,
    unique_by=lambda file: file.path,
).map(tuple)
SETS = st.builds(
    lambda schema, shared, own: PolicyFiles(schemas=(SourceFile("s", schema),), shared=shared, by_tenant=own),
    st.sampled_from([SCHEMA_TEXT, GROWN]),
    SOURCES,
    st.dictionaries(st.sampled_from(["t_1", "t_2"]), SOURCES),
)


@settings(deadline=None)  # schemas are compiled
@given(st.lists(SETS, min_size=1, max_size=4))
def test_what_passes_is_what_compiles_whatever_has_passed_before(sets: list[PolicyFiles]) -> None:
    passed = None
    for wanted in sets:
        if passes(wanted):
            assert check_files(wanted, passed).model == check_files(wanted).model
            passed = wanted
        else:
            with pytest.raises((PolicyInvalid, ValidationFailed)):
                check_files(wanted, passed)


def clash(one: str, other: str) -> str:
    """The sentence about two policies of one id."""
    return f"two policies have the id `same`: `{one}:1` and `{other}:1`"


def test_two_policies_of_one_id_are_refused_wherever_they_come_from() -> None:
    """Also where only a file of all tenants is new, and where one file has both."""
    same = PERMIT.format("same")
    shared = ("policies/a.cedar", same)
    own = {"t_1": (SourceFile("policies/t_1/b.cedar", same),)}
    with pytest.raises(ValidationFailed) as caught:
        check_files(files(shared, ("policies/b.cedar", same)))
    assert caught.value.message == clash("policies/a.cedar", "policies/b.cedar")
    for passed in (None, files(by_tenant=own)):
        with pytest.raises(ValidationFailed) as caught:
            check_files(files(shared, by_tenant=own), passed)
        assert caught.value.message == clash("policies/a.cedar", "policies/t_1/b.cedar")
    with pytest.raises(ValidationFailed) as caught:
        check_files(files(by_tenant={"t_1": (SourceFile("policies/t_1/b.cedar", f"{same} {same}"),)}))
    assert caught.value.message == clash("policies/t_1/b.cedar", "policies/t_1/b.cedar")


def test_two_tenants_may_have_policies_of_one_id() -> None:
    check_files(files(by_tenant={name: (SourceFile(f"p/{name}", PERMIT.format("same")),) for name in ("t_1", "t_2")}))


@pytest.mark.parametrize(
    "wanted",
    [
        files(("policies/a.cedar", "permit (principal, action, resource)")),
        files(("policies/a.cedar", FLY)),
        files(by_tenant={"t_9": (SourceFile("policies/t_9/a.cedar", "oops"),)}),
        files(by_tenant={"t_9": (SourceFile("policies/t_9/a.cedar", FLY),)}),
        PolicyFiles(schemas=(SourceFile("schemas/s", "entity"),), shared=(), by_tenant={}),
    ],
    ids=["unparsed", "invalid", "unparsed, of a tenant", "invalid, of a tenant", "schema"],
)
def test_a_file_that_does_not_pass_is_refused_with_its_place(wanted: PolicyFiles) -> None:
    paths = [each.path for each in (*wanted.shared, *sum(wanted.by_tenant.values(), ()))]
    with pytest.raises(PolicyInvalid) as caught:
        check_files(wanted)
    assert caught.value.file == (paths[0] if paths else "schemas/s")
    assert caught.value.line == 1


def test_what_is_read_of_a_named_entity_is_refused_for_all_tenants_and_allowed_for_one() -> None:
    """The entity exists in one tenant at most, and everybody else would be denied."""
    with pytest.raises(PolicyInvalid, match="which not every tenant has"):
        check_files(files(("policies/a.cedar", READS)))
    check_files(files(by_tenant={"t_1": (SourceFile("policies/t_1/a.cedar", READS),)}))


def test_what_did_not_change_is_not_validated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another schema everything is."""
    validated: list[str] = []

    def counted(text: str, file: str, compiled: CompiledSchema) -> tuple[str, ...]:
        validated.append(file)
        return check_statements(text, file, compiled)

    monkeypatch.setattr(policy_files, "check_statements", counted)
    one, two, new = (SourceFile(f"p/{name}.cedar", PERMIT.format(name)) for name in ("one", "two", "new"))
    passed = files(("policies/base.cedar", PERMIT.format("base")), by_tenant={"t_1": (one,), "t_2": (one, two)})
    check_files(msgspec.structs.replace(passed, by_tenant={"t_1": (one,), "t_2": (one, new)}), passed)
    assert validated == ["p/new.cedar"]
    check_files(msgspec.structs.replace(passed, shared=()), passed)
    assert validated == ["p/new.cedar"]
    check_files(msgspec.structs.replace(passed, schemas=(SourceFile("s", GROWN),)), passed)
    assert validated == ["p/new.cedar", "p/one.cedar", "p/one.cedar", "p/two.cedar"]


@pytest.mark.parametrize("text", [PERMIT.format("one"), ESCAPED, f"{PERMIT}\n{PERMIT.format('b')}", "// none"])
def test_ids_are_those_of_the_compiled_policies(text: str) -> None:
    units = compile_statements(text, "p/f.cedar", SCHEMA, shared=False)
    ids = tuple(unit.id for unit in units)
    assert read_statements(text, "p/f.cedar", shared=False) == units
    assert named_statements(text, "p/f.cedar") == check_statements(text, "p/f.cedar", SCHEMA) == ids


def test_policies_of_the_api_are_checked_against_another_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many at once; the one that does not fit is named. Together they may be too long for one text."""
    records = [(cedar_record(f"pol_{number}", PERMIT.format("a")), None) for number in range(5)]
    wrong = (cedar_record("pol_9", FLY.format("x")), None)
    monkeypatch.setattr(policy_files, "RECORDS", 2)
    check_records(records, SCHEMA)
    with pytest.raises(PolicyInvalid, match="pol_9"):
        check_records([*records, wrong], SCHEMA)
    check_records([*records, wrong], compile_schema((("s", GROWN),)))

    def too_long(*_: object) -> tuple[str, ...]:
        raise PolicyInvalid("too long", file="", line=1, column=1)

    monkeypatch.setattr(policy_files, "check_statements", too_long)
    check_records(records, SCHEMA)


@pytest.mark.parametrize(
    ("text", "takes"),
    [(PERMIT.format("pol_1"), True), (ESCAPED, True), (PERMIT.format("own/pol_1"), False), ("", False)],
)
def test_a_file_that_could_take_an_id_of_the_api_is_noticed(text: str, takes: bool) -> None:  # noqa: FBT001 -- a row
    assert may_take_id_of_api(SourceFile("f", text)) is takes


def test_the_checks_are_named_with_the_engine() -> None:
    """Another engine may refuse what this one let pass."""
    assert checked_by().startswith(f"{engine()}, ")
