"""A tenant's policies: files and what the API made, as one set that its manifest stands for exactly."""

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core import snapshot
from sidecar.core.errors import PolicyInvalid, ValidationFailed
from sidecar.core.policy import CompiledSchema, engine, entity_slice
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_set import ParsedPolicies
from sidecar.core.policy_unit import Link, PolicyUnit
from sidecar.core.rules import Rules
from sidecar.core.ruling import CedarRequest, Ruling
from sidecar.core.snapshot import (
    PolicyFiles,
    PolicyRecord,
    Reading,
    SourceFile,
    TenantPolicies,
    compile_files,
    compile_record,
    compile_tenant,
)
from tests.core.builders import CHAIN, SCHEMA, SCHEMA_TEXT, cedar_record, files, rules_record

PERMIT = '@id("{}") permit (principal, action == Action::"tool.call", resource);'
TEMPLATE = '@id("mine") permit (principal in ?principal, action == Action::"tool.call", resource);'

Owned = list[tuple[PolicyRecord, str | None]]

FILES = files(
    ("policies/base.cedar", PERMIT.format("base")),
    by_tenant={"t_1": (SourceFile("policies/t_1/own.cedar", PERMIT.format("own")),)},
)
RECORDS: Owned = [
    (cedar_record("pol_1", PERMIT.format("api")), None),
    (cedar_record("pol_2", TEMPLATE, "boss"), "User"),
]


def tenant(policy_files: PolicyFiles = FILES, records: Owned = RECORDS, tenant_id: str = "t_1") -> TenantPolicies:
    """The policies of a tenant."""
    return compile_tenant(compile_files(policy_files), tenant_id, records)


def ruling(having: TenantPolicies) -> Ruling:
    """What is said when the agent calls a tool."""
    request = CedarRequest(principal=("Agent", "bot"), action="tool.call", resource=("Tool", "x"), context={})
    people: list[dict[str, object]] = [
        {
            "uid": {"type": type_name, "id": each.identity_id},
            "attrs": {"name": each.name, "status": each.status},
            "parents": parents,
            "tags": {},
        }
        for each, type_name, parents in zip(
            CHAIN,
            ("Agent", "Team", "User"),
            ([{"type": "Team", "id": "team"}], [{"type": "User", "id": "boss"}], []),
            strict=True,
        )
    ]
    return having.policies.evaluate(request, entity_slice(people, SCHEMA))


# --- One set


def test_files_and_what_the_api_made_are_asked_together() -> None:
    assert ruling(tenant()) == Ruling("allow", ("base", "own", "pol_1/api", "pol_2/mine@pol_2"))


def test_a_tenants_files_hold_for_that_tenant_alone() -> None:
    assert ruling(tenant(tenant_id="t_2", records=[])) == Ruling("allow", ("base",))


def test_a_policy_made_by_the_api_is_named_by_its_id_and_place() -> None:
    unit = tenant().policies.unit("pol_1/api")
    assert (unit.policy_id, unit.source, unit.rule) == ("pol_1", "/v1/policies/pol_1:1", None)


def test_a_policy_from_a_file_has_no_id_of_the_api() -> None:
    unit = tenant().policies.unit("own")
    assert (unit.policy_id, unit.source) == (None, "policies/t_1/own.cedar:1")


def test_rules_keep_the_key_and_the_words_of_each_clause() -> None:
    record = rules_record("pol_3", Rules(actions=("card.authorize",), currency="CAD"))
    having = tenant(records=[(record, "User")])
    assert having.policies.unit("pol_3").rule is None
    clause = having.policies.unit("pol_3/currency")
    assert (clause.policy_id, clause.rule, clause.requirement) == ("pol_3", "currency", "currency one of CAD")


def test_cedar_text_cannot_pass_itself_off_as_a_rule() -> None:
    units, _ = compile_record(cedar_record("pol_1", PERMIT.format("pol_1/max_amount")), SCHEMA, None)
    assert [unit.rule for unit in units] == [None]


# --- Templates


def test_a_template_holds_for_the_identity_and_those_below_it() -> None:
    assert ruling(tenant(files(), [RECORDS[1]])).determining == ("pol_2/mine@pol_2",)
    beside = (cedar_record("pol_2", TEMPLATE, "stranger"), "User")
    assert ruling(tenant(files(), [beside])) == Ruling("deny", ())


def test_a_template_needs_an_identity() -> None:
    """With one that does not exist it has no type to be linked to."""
    for record, owner in ((cedar_record("pol_1", TEMPLATE), None), (cedar_record("pol_1", TEMPLATE, "gone"), None)):
        with pytest.raises(ValidationFailed, match="needs the identity") as caught:
            compile_record(record, SCHEMA, owner)
        assert caught.value.field == "identity_id"


def test_only_the_principal_of_a_template_is_filled_in() -> None:
    text = "permit (principal in ?principal, action, resource in ?resource);"
    with pytest.raises(ValidationFailed, match="only the slot `\\?principal`") as caught:
        compile_record(cedar_record("pol_1", text, "boss"), SCHEMA, "User")
    assert caught.value.field == "cedar"


def test_a_policy_of_one_identity_is_a_template() -> None:
    """Text that does not name the identity would hold for the whole tenant."""
    with pytest.raises(ValidationFailed, match="`principal in \\?principal`") as caught:
        compile_record(cedar_record("pol_1", f"{TEMPLATE}\n{PERMIT.format('wide')}", "boss"), SCHEMA, "User")
    assert caught.value.field == "cedar"


@pytest.mark.parametrize("text", ["", "// nothing but words"])
def test_a_policy_holds_at_least_one_statement(text: str) -> None:
    """One that says nothing would be taken for one in force."""
    with pytest.raises(ValidationFailed, match="the text holds no policy") as caught:
        compile_record(cedar_record("pol_1", text), SCHEMA, None)
    assert caught.value.field == "cedar"


def test_every_template_of_a_policy_is_linked() -> None:
    text = TEMPLATE + "forbid (principal == ?principal, action, resource);"
    units, links = compile_record(cedar_record("pol_1", text, "boss"), SCHEMA, "User")
    assert [unit.id for unit in units] == ["pol_1/mine", "pol_1#2"]
    assert [(link.template_id, link.id, link.principal) for link in links] == [
        ("pol_1/mine", "pol_1/mine@pol_1", ("User", "boss")),
        ("pol_1#2", "pol_1#2@pol_1", ("User", "boss")),
    ]


# --- Refusals


def clash(one: str, other: str) -> str:
    """The sentence about two policies of one id."""
    return f"two policies have the id `same`: `{one}:1` and `{other}:1`"


def test_an_id_that_a_file_takes_later_does_not_keep_the_file_out() -> None:
    """Or a tenant could stop the deployment; while it is made, the policy of the API is refused."""
    same = PERMIT.format("same")
    having = tenant(files(("policies/a.cedar", same)), [(cedar_record("pol_1", same), None)])
    assert having.policies.unit("pol_1/same").given_id == "same"
    assert having.policies.repeated("pol_1") == clash("policies/a.cedar", "/v1/policies/pol_1")
    assert having.policies.repeated("pol_2") is None


def test_two_tenants_may_have_policies_of_one_id() -> None:
    same = {name: (SourceFile(f"policies/{name}/a.cedar", PERMIT.format("same")),) for name in ("t_1", "t_2")}
    assert ruling(tenant(files(by_tenant=same), [])).determining == ("same",)


def test_a_schema_or_a_file_for_all_tenants_that_does_not_pass_is_refused_with_its_place() -> None:
    """Also where an earlier compilation is at hand."""
    known = compile_files(FILES)
    for wrong in (
        files(("policies/base.cedar", "permit (principal, action, resource)")),
        PolicyFiles(schemas=(SourceFile("policies/base.cedar", "entity"),), shared=(), by_tenant={}),
    ):
        with pytest.raises(PolicyInvalid) as caught:
            compile_files(wrong, known)
        assert (caught.value.file, caught.value.line) == ("policies/base.cedar", 1)


# --- What is compiled once


TEXTS = st.sampled_from([PERMIT.format(name) for name in ("one", "two", "three")] + ["", "// none"])
SOURCES = st.lists(st.builds(SourceFile, st.sampled_from(["policies/a", "policies/b"]), TEXTS), max_size=3).map(tuple)
SETS = st.builds(
    lambda schema, shared, own: PolicyFiles(
        schemas=(SourceFile("schemas/s.cedarschema", schema),), shared=shared, by_tenant=own
    ),
    st.sampled_from([SCHEMA_TEXT, SCHEMA_TEXT + "\nentity Extra;"]),
    SOURCES,
    st.dictionaries(st.sampled_from(["t_1", "t_2"]), SOURCES),
)


@settings(deadline=None)  # schemas are compiled
@given(st.lists(st.tuples(SETS, st.booleans()), min_size=1, max_size=4))
def test_files_compile_to_the_same_whatever_was_compiled_before(sets: list[tuple[PolicyFiles, bool]]) -> None:
    known = None
    for wanted, are_asked_for in sets:
        known, alone = compile_files(wanted, known), compile_files(wanted)
        assert known.shared == alone.shared
        assert known.schema.model == alone.schema.model
        for tenant_id in wanted.by_tenant if are_asked_for else ():
            assert known.by_tenant.of(tenant_id) == alone.by_tenant.of(tenant_id)


def test_a_file_that_did_not_change_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (SourceFile(f"policies/t_1/{name}.cedar", PERMIT.format(name)) for name in ("a", "b"))
    known = compile_files(files(("policies/base.cedar", PERMIT.format("base")), by_tenant={"t_1": (first, second)}))
    before = known.by_tenant.of("t_1")
    changed = SourceFile(second.path, PERMIT.format("c"))
    read: list[str] = []

    def counted(text: str, file: str, *, shared: bool) -> tuple[PolicyUnit, ...]:
        read.append(file)
        return read_statements(text, file, shared=shared)

    monkeypatch.setattr(snapshot, "read_statements", counted)
    monkeypatch.setattr(snapshot, "compile_statements", None)
    monkeypatch.setattr(snapshot, "compile_schema", None)
    after = compile_files(renamed(known.files, by_tenant={"t_1": (first, changed)}), known).by_tenant
    assert after.of("t_1")[0] is before[0]
    assert after.of("t_1")[1].id == "c"
    assert after.of("t_1") == after.of("t_1")
    assert read == [changed.path]


def test_a_tenants_files_are_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the tenants that were asked for longest ago are let go."""
    own = {name: (SourceFile(f"policies/{name}/a.cedar", PERMIT.format(name)),) for name in ("t_1", "t_2", "t_3")}
    monkeypatch.setattr(snapshot, "TENANTS_MAX", 2)
    by_tenant = compile_files(files(by_tenant=own)).by_tenant
    assert list(by_tenant.read) == []
    for name in ("t_1", "t_2", "t_1", "t_3"):
        assert [unit.id for unit in by_tenant.of(name)] == [name]
    assert list(by_tenant.read) == ["t_1", "t_3"]
    assert by_tenant.of("t_9") == ()


# --- Digests


def test_the_revision_is_the_hash_of_the_manifest() -> None:
    made = tenant()
    assert made.digest == hashlib.sha256(made.manifest).digest()
    assert made.revision == f"sha256:{made.digest.hex()}"


def renamed(policy_files: PolicyFiles, **changes: object) -> PolicyFiles:
    """Files with changes."""
    return msgspec.structs.replace(policy_files, **changes)


def with_record(**changes: object) -> Owned:
    """``RECORDS`` with the first one changed."""
    return [(msgspec.structs.replace(RECORDS[0][0], **changes), None), RECORDS[1]]


CHANGES: dict[str, Callable[[], TenantPolicies]] = {
    "schema": lambda: tenant(renamed(FILES, schemas=(SourceFile("schemas/s.cedarschema", SCHEMA_TEXT + "\n"),))),
    "schema's path": lambda: tenant(renamed(FILES, schemas=(SourceFile("schemas/t.cedarschema", SCHEMA_TEXT),))),
    "file": lambda: tenant(renamed(FILES, shared=(SourceFile("policies/base.cedar", PERMIT.format("base2")),))),
    "file's path": lambda: tenant(renamed(FILES, shared=(SourceFile("policies/b.cedar", PERMIT.format("base")),))),
    "file gone": lambda: tenant(renamed(FILES, shared=())),
    "tenant's file": lambda: tenant(
        renamed(FILES, by_tenant={"t_1": (SourceFile("policies/t_1/own.cedar", PERMIT.format("own2")),)})
    ),
    "tenant's file gone": lambda: tenant(renamed(FILES, by_tenant={})),
    "record": lambda: tenant(records=with_record(cedar=PERMIT.format("api2"))),
    "record's id": lambda: tenant(records=with_record(policy_id="pol_9")),
    "record gone": lambda: tenant(records=RECORDS[1:]),
    "owner": lambda: tenant(records=[RECORDS[0], (cedar_record("pol_2", TEMPLATE, "team"), "User")]),
    "owner's type": lambda: tenant(records=[RECORDS[0], (cedar_record("pol_2", TEMPLATE, "boss"), "Team")]),
}


def test_each_change_of_what_is_evaluated_is_a_revision_of_its_own() -> None:
    digests = {name: change().digest for name, change in CHANGES.items()} | {"none": tenant().digest}
    assert len(set(digests.values())) == len(digests)


UNCHANGED: dict[str, Callable[[], TenantPolicies]] = {
    "another tenant's file": lambda: tenant(
        renamed(FILES, by_tenant=FILES.by_tenant | {"t_2": (SourceFile("policies/t_2/a.cedar", PERMIT.format("x")),)})
    ),
    "name": lambda: tenant(records=with_record(name="another name")),
    "time": lambda: tenant(records=with_record(created_at_us=7)),
    "revision": lambda: tenant(records=with_record(revision=7)),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_not_evaluated_makes_no_revision(name: str) -> None:
    assert UNCHANGED[name]().digest == tenant().digest


def test_with_the_texts_the_manifest_suffices_to_compile_the_same_set_again() -> None:
    made = tenant()
    manifest = json.loads(made.manifest)
    sources = (*FILES.all, *(record.source for record, _ in RECORDS))
    texts = {_address(source.text.encode()): source.text for source in sources}
    again = compile_tenant(
        compile_files(
            PolicyFiles(
                schemas=tuple(SourceFile(path, texts[address]) for path, address in manifest["schemas"]),
                shared=tuple(SourceFile(path, texts[address]) for path, address in manifest["files"]),
                by_tenant={},
            )
        ),
        "t_1",
        [
            (cedar_record(policy_id, texts[address], identity_id), owner_type)
            for policy_id, owner_type, identity_id, address in manifest["api"]
        ],
    )
    assert (again.policies.parts, again.manifest) == (made.policies.parts, made.manifest)
    assert ruling(again) == ruling(made)
    assert manifest["engine"] == engine()


def _address(text: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(text).digest()).decode().rstrip("=")


SOURCES = st.lists(st.builds(SourceFile, st.text(max_size=3), st.text(max_size=3)), max_size=2).map(tuple)
ANY_FILES = st.builds(
    lambda schemas, shared, by_tenant: PolicyFiles(schemas=schemas, shared=shared, by_tenant=by_tenant),
    SOURCES,
    SOURCES,
    st.dictionaries(st.sampled_from(["t_1", "t_2"]), SOURCES),
)


@given(ANY_FILES, ANY_FILES)
def test_the_digest_of_files_stands_for_exactly_these_files(one: PolicyFiles, other: PolicyFiles) -> None:
    assert (one.digest() == other.digest()) == (one == other)


@given(ANY_FILES)
def test_the_order_in_which_tenants_were_read_does_not_matter(one: PolicyFiles) -> None:
    turned = cast("dict[str, tuple[SourceFile, ...]]", dict(reversed(one.by_tenant.items())))
    assert renamed(one, by_tenant=turned).digest() == one.digest()


def test_only_records_that_changed_are_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_ids: list[str] = []

    def noted(
        record: PolicyRecord, schema: CompiledSchema, owner_type: str | None, read: Reading
    ) -> tuple[list[PolicyUnit], list[Link]]:
        compiled_ids.append(record.policy_id)
        return compile_record(record, schema, owner_type, read)

    files = compile_files(FILES)
    before = compile_tenant(files, "t_1", RECORDS)
    monkeypatch.setattr(snapshot, "compile_record", noted)
    for records in (with_record(cedar=PERMIT.format("api2")), [RECORDS[0], (RECORDS[1][0], "Team")], RECORDS):
        made = compile_tenant(files, "t_1", records, before)
        alone = compile_tenant(files, "t_1", records)
        assert (made.digest, made.policies.parts) == (alone.digest, alone.policies.parts)
    first, second = (record.policy_id for record, _ in RECORDS)
    assert compiled_ids == [first, first, second, second, first, second, first, second]


def test_a_new_schema_compiles_every_record_again() -> None:
    before = tenant()
    other = tenant(renamed(FILES, schemas=(SourceFile("schemas/s.cedarschema", SCHEMA_TEXT + "\n"),)))
    made = compile_tenant(compile_files(FILES), "t_1", RECORDS, other)
    assert made.records.keys() == before.records.keys()
    assert all(made.records[name] is not other.records[name] for name in made.records)


def test_what_is_known_of_a_text_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and policies of the API alike, and the result is the same."""
    sources = (*FILES.policies, *(record.source for record, _ in RECORDS))
    known = {each: read_statements(each.text, each.path, shared=False) for each in sources}
    alone = tenant()
    monkeypatch.setattr(snapshot, "read_statements", None)
    monkeypatch.setattr(snapshot, "compile_statements", None)
    made = compile_tenant(compile_files(FILES, None, known.get), "t_1", RECORDS, read=known.get)
    assert (made.digest, made.policies.parts) == (alone.digest, alone.policies.parts)


def test_tenants_without_policies_of_their_own_share_one_set() -> None:
    compiled, parsed = compile_files(FILES), ParsedPolicies()
    shared = compile_tenant(compiled, "t_2", [], None, parsed)
    assert compile_tenant(compiled, "t_3", [], None, parsed) is shared
    assert shared.policies.parts[0] == compiled.shared
    for other in (compile_tenant(compiled, "t_3", []), compile_tenant(compiled, "t_3", RECORDS, None, parsed)):
        assert other is not shared, "parsed elsewhere, or with policies of its own"
    assert compile_tenant(compiled, "t_1", [], None, parsed).digest != shared.digest
