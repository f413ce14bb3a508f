"""What was read out of policies: kept as it would be read anew, and only for the code that read it."""

import ast
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import StoreUnusable
from sidecar.core.policy_compilation import read_statements
from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import SourceFile
from sidecar.state import readings
from sidecar.state.environment import Environment, open_environment
from tests.state.builders import reading, writing

SCOPES = st.tuples(
    st.sampled_from(["principal", "principal is User", 'principal == Agent::"a"', 'principal in Team::"\\u{e9}"'])
    | st.sampled_from(["principal in ?principal", "principal is Agent in ?principal"]),
    st.sampled_from(["action", 'action == Action::"tool.call"', 'action in [Action::"a"]', "action in []"]),
    st.sampled_from(["resource", "resource is Tool", 'resource is Tool in Team::"x"', "resource in ?resource"]),
)
CONDITIONS = st.sampled_from(
    [
        "",
        "when { context.amount < 5 }",
        "when { context has a.b }",
        'unless { context == {} || resource in [Tool::"x"] }',
        'when { Agent::"b".spent > 1 && resource.cost < 2 }',
    ]
)
ANNOTATIONS = st.sampled_from(["", '@id("one/more")', '@description("é\\n") @advice("ask")', "@advice"])
TEXTS = st.lists(st.tuples(ANNOTATIONS, st.sampled_from(["permit", "forbid"]), SCOPES, CONDITIONS), max_size=3).map(
    lambda found: "\n".join(f"{notes} {effect} ({', '.join(scope)}) {rest};" for notes, effect, scope, rest in found)
)
FILE = SourceFile("policies/a.cedar", "permit (principal, action, resource);")


def read(file: SourceFile) -> tuple[PolicyUnit, ...]:
    """What is in a text."""
    return read_statements(file.text, file.path, shared=False)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A new store."""
    with closing(open_environment(tmp_path / "db", durability="process-crash")) as made:
        yield made


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # rows under other texts
@given(TEXTS)
def test_what_is_kept_is_what_would_be_read_anew(environment: Environment, text: str) -> None:
    file = SourceFile("policies/a.cedar", text)
    with writing(environment) as txn:
        txn.readings.keep(file, read(file))
    with reading(environment) as txn:
        assert txn.readings.of(file) == read(file)


def test_it_is_found_by_exactly_this_path_and_text(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.readings.keep(FILE, read(FILE))
        for other in (SourceFile("policies/b.cedar", FILE.text), SourceFile(FILE.path, FILE.text + "\n")):
            assert txn.readings.of(other) is None
        txn.readings.forget(FILE)
        assert txn.readings.of(FILE) is None


def test_what_other_code_has_read_counts_for_nothing(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(environment) as txn:
        assert not txn.readings.are_complete()
        txn.readings.keep(FILE, read(FILE))
        txn.readings.complete()
        assert txn.readings.are_complete()
        monkeypatch.setattr(readings, "read_by", lambda: b"x" * 32)
        assert txn.readings.of(FILE) is None
        assert not txn.readings.are_complete()


def test_a_row_that_cannot_be_read_makes_the_store_unusable(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.readings.keep(FILE, ())
    with environment.begin_write() as raw, raw.cursor(db=environment.tables["readings"]) as cursor:
        assert cursor.first()
        cursor.put(bytes(cursor.key()), bytes(cursor.value())[:-1] + b"\xc0")
    with reading(environment) as txn, pytest.raises(StoreUnusable, match="cannot be read"):
        txn.readings.of(FILE)


NO_SAY = {
    "errors": "exceptions",
    "ruling": "what is asked of policies and what they say",
    "policy_sieve": "limits, which only refuse",
    "schema": "declarations, which no text is read by",
    "literals": "what is asked of policies",
    "forms": "declarations, which no text is read by",
}


def test_all_code_that_reads_policies_is_part_of_the_version() -> None:
    """Whatever such a module imports of the core is such a module itself, or has no say in what is read."""
    names = {Path(module.__file__ or "").stem for module in readings.READERS}
    for module in readings.READERS:
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sidecar.core"):
                last = (node.module or "").rpartition(".")[2]
                used = {each.name for each in node.names} if last == "core" else {last}
                assert used <= names | NO_SAY.keys(), module.__name__


def test_the_version_follows_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = readings.read_by()
    assert before == readings.read_by.__wrapped__()
    monkeypatch.setattr(readings, "READERS", readings.READERS[1:])
    assert readings.read_by.__wrapped__() != before
    monkeypatch.undo()
    monkeypatch.setattr(readings, "engine", lambda: "another engine")
    assert readings.read_by.__wrapped__() != before
