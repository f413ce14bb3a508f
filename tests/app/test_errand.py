"""Loading policy files in a process of its own: what is found of them, and its end when nobody waits for it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sidecar.app import errand as module
from sidecar.app.errand import LOOKS_MAX, Errand, Finding, run, settled
from sidecar.app.loading import load, untested
from sidecar.app.trial import trial_in
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import PolicyFiles
from sidecar.state.environment import MapFull, open_environment
from tests.core.builders import SCHEMA_TEXT, files
from tests.state.builders import reading, rows

PERMIT = '@id("{}") permit (principal, action == Action::"tool.call", resource);'


@pytest.fixture
def errand(tmp_path: Path) -> Errand:
    """An errand to folders with one good policy, in a store that holds other files."""
    for folder in ("policies", "schemas"):
        (tmp_path / folder).mkdir()
    (tmp_path / "policies" / "a.cedar").write_text(PERMIT.format("a"))
    (tmp_path / "schemas" / "s.cedarschema").write_text(SCHEMA_TEXT)
    with closing(open_environment(tmp_path / "db", durability="process-crash")) as environment:
        load(environment, files())
    return Errand(
        tmp_path / "policies", tmp_path / "schemas", tmp_path / "db", "process-crash", 1 << 26, "watch", b"seen"
    )


def held(errand: Errand) -> PolicyFiles | None:
    """The files that hold."""
    with closing(open_environment(errand.store)) as environment, reading(environment) as txn:
        return txn.policy_files()


def no_wait(_seconds: float) -> None:
    """Look again at once."""


def test_good_files_are_loaded_and_noted_with_what_was_seen(errand: Errand) -> None:
    (errand.policies / "t_9").mkdir()
    (errand.policies / "t_9" / "b.cedar").write_text(PERMIT.format("b"))
    done = run(errand, untested, no_wait)
    assert (done.outcome, done.before, done.files, done.strangers) == ("loaded", files().digest(), 3, ("t_9",))
    with closing(open_environment(errand.store)) as environment, reading(environment) as txn:
        tried, untold = txn.policies_tried(), txn.untold_load()
        assert txn.policy_files_digest() == done.digest
    assert tried is not None
    assert tried.last is not None
    assert (tried.content, tried.last.outcome, tried.last.by) == (b"seen", "loaded", "watch")
    assert untold is not None
    assert (untold.loaded.digest, untold.loaded.by, untold.loaded.files) == (done.digest, "watch", 3)
    again = run(errand, untested, no_wait)
    assert (again.outcome, again.digest) == ("unchanged", done.digest)


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda e: (e.policies / "b.cedar").write_text("permit (\n principal"), r"policies/b\.cedar:2:\d+: "),
        (lambda e: (e.policies / "b.cedar").write_text(PERMIT.format("a")), "two policies have the id `a`"),
        (lambda e: (e.policies / "b.cedar").write_bytes(b"\xff"), "is not UTF-8"),
        (lambda e: (e.schemas / "s.cedarschema").write_text("entity"), r"schemas/s\.cedarschema:1:"),
        (lambda e: (e.schemas / "s.cedarschema").unlink(), "holds no"),
        (lambda e: e.policies.rename(e.policies.with_name("away")), "cannot be read"),
    ],
)
def test_bad_files_are_refused_and_leave_what_holds(
    errand: Errand, break_it: Callable[[Errand], object], reason: str
) -> None:
    break_it(errand)
    with pytest.raises(ConfigurationInvalid, match=reason) as raised:
        raise ConfigurationInvalid(str(run(errand, untested, no_wait).reason))
    assert raised.value.message
    assert run(errand, untested, no_wait).outcome == "refused"
    assert held(errand) == files()


def test_files_whose_tests_fail_are_refused(errand: Errand) -> None:
    seen: list[PolicyFiles] = []

    def trial(candidate: PolicyFiles) -> str:
        seen.append(candidate)
        return "`a.test.yaml`: `spends` was allowed, expected a denial (1 of 3 tests fails)"

    done = run(errand, trial, no_wait)
    assert (done.outcome, done.reason) == ("refused", trial(seen[0]))
    assert held(errand) == files()


def test_files_that_hold_already_are_not_tested_again(errand: Errand) -> None:
    run(errand, untested, no_wait)
    assert run(errand, lambda _files: "never asked", no_wait).outcome == "unchanged"


def raising(error: Exception) -> Callable[..., object]:
    """Return what fails however it is called."""

    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [MapFull("full"), OSError(24, "too many open files"), MemoryError()])
def test_what_the_files_are_not_to_blame_for_is_not_blamed_on_them(
    errand: Errand, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(module, "load", raising(error))
    assert run(errand, untested, no_wait).outcome == "unavailable"


def test_a_store_that_cannot_be_opened_is_not_blamed_on_the_files(errand: Errand) -> None:
    (errand.store / "data.mdb").write_bytes(b"no store")
    assert run(errand, untested, no_wait).outcome == "unavailable"


def test_files_are_taken_when_two_looks_agree() -> None:
    one, two = files(), files(("policies/a.cedar", ""))
    looks: Iterator[PolicyFiles] = iter((one, two, one, one))
    assert settled(lambda: next(looks), no_wait) is one
    looks = iter(files((f"policies/{number}.cedar", "")) for number in range(LOOKS_MAX + 1))
    with pytest.raises(ConfigurationInvalid, match="change all the time"):
        settled(lambda: next(looks), no_wait)


# --- Tests beside the files

FAILING = """\
request: {identity: a1, action: tool.call, resource: {type: tool, id: search}}
identities: [{id: a1, type: agent}]
tests:
  - name: nobody searches
    expect: deny
"""


def test_a_failing_test_file_refuses_with_a_sentence_that_names_the_test(errand: Errand) -> None:
    """And a broken one does, with its place; once it is mended the files are loaded."""
    tests = errand.policies / "a.test.yaml"
    tests.write_text(FAILING)
    done = run(errand, trial_in(errand.policies), no_wait)
    assert done.outcome == "refused"
    assert str(done.reason).startswith("policies/a.test.yaml:4:")
    assert "test `nobody searches` fails, `decision` expected deny, got allow" in str(done.reason)
    assert "\n" not in str(done.reason)
    tests.write_text("tests: [")
    assert str(run(errand, trial_in(errand.policies), no_wait).reason).startswith("policies/a.test.yaml:2:1: ")
    assert held(errand) == files()
    tests.write_text(FAILING.replace("deny", "allow"))
    assert run(errand, trial_in(errand.policies), no_wait).outcome == "loaded"


def test_a_reason_that_quotes_without_end_is_cut(errand: Errand) -> None:
    condition = f" when {{ context.{'x' * 50_000} }};"
    (errand.policies / "b.cedar").write_text(PERMIT.format("b").replace(";", condition))
    reason = str(run(errand, untested, no_wait).reason)
    assert len(reason) == module.REASON_CHARACTERS_MAX + 1
    assert reason.endswith("…")


# --- Shadow policies


@pytest.fixture
def shadowed(errand: Errand) -> Errand:
    """An errand that has a folder of shadow policies as well, with one good policy."""
    folder = errand.policies.with_name("candidate")
    folder.mkdir()
    (folder / "s.cedar").write_text(PERMIT.format("s"))
    return msgspec.structs.replace(errand, shadow=folder)


def shadows(errand: Errand) -> tuple[str, ...] | None:
    """The places of the shadow policies that are loaded, None for none."""
    with closing(open_environment(errand.store)) as environment, reading(environment) as txn:
        found = txn.shadow_files.get()
    return None if found is None else tuple(file.path for file in found.shared)


def all_rows(errand: Errand) -> dict[str, object]:
    """Everything that is stored."""
    with closing(open_environment(errand.store)) as environment:
        return {table: rows(environment, table) for table in environment.tables}


def test_shadow_files_are_loaded_behind_the_live_ones(shadowed: Errand) -> None:
    done = run(shadowed, untested, no_wait)
    assert (done.outcome, done.reason, done.is_whole) == ("loaded", None, True)
    assert shadows(shadowed) == ("candidate/s.cedar",)
    again = run(shadowed, untested, no_wait)
    assert (again.outcome, again.shadow) == ("unchanged", None)


def test_shadow_files_that_changed_alone_are_loaded_alone(shadowed: Errand) -> None:
    run(shadowed, untested, no_wait)
    assert shadowed.shadow is not None
    (shadowed.shadow / "more.cedar").write_text(PERMIT.format("more"))
    done = run(shadowed, lambda _files: "never asked", no_wait)
    assert (done.outcome, done.reason, done.digest) == ("loaded", None, done.before)
    assert done.shadow is not None
    assert shadows(shadowed) == ("candidate/more.cedar", "candidate/s.cedar")


def test_refused_shadow_files_keep_no_live_ones_back_and_are_told(shadowed: Errand) -> None:
    assert shadowed.shadow is not None
    (shadowed.shadow / "s.cedar").write_text("permit (nobody);")
    done = run(shadowed, untested, no_wait)
    assert (done.outcome, done.is_whole, done.shadow) == ("loaded", True, None)
    assert str(done.reason).startswith("the shadow policies were refused: candidate/s.cedar:1:")
    assert done.digest != done.before
    assert shadows(shadowed) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "s.cedar").write_text("permit (nobody);"),
        lambda folder: (folder / "s.cedar").write_bytes(b"\xff"),
        lambda folder: folder.rename(folder.with_name("away")),
    ],
)
def test_shadow_files_that_are_refused_alone_leave_everything_as_it_is(
    shadowed: Errand, spoil: Callable[[Path], object]
) -> None:
    run(shadowed, untested, no_wait)
    before = all_rows(shadowed)
    assert shadowed.shadow is not None
    spoil(shadowed.shadow)
    done = run(shadowed, untested, no_wait)
    assert done.outcome == "refused"
    assert str(done.reason).startswith("the shadow policies were refused: ")
    assert all_rows(shadowed) == before


def test_live_files_that_are_refused_keep_shadow_files_back(shadowed: Errand) -> None:
    (shadowed.policies / "a.cedar").write_text("permit (nobody);")
    done = run(shadowed, untested, no_wait)
    assert done.outcome == "refused"
    assert str(done.reason).startswith("policies/a.cedar:1:")
    assert shadows(shadowed) is None


def test_the_content_counts_as_tried_only_once_the_shadow_files_were_looked_at(
    shadowed: Errand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is killed between both leaves it to the watcher to try again; so does a store without room."""
    monkeypatch.setattr(module, "load_shadow", raising(MapFull("full")))
    done = run(shadowed, untested, no_wait)
    assert (done.outcome, done.is_whole) == ("loaded", False)
    assert str(done.reason).startswith("the shadow policies were not loaded: ")
    with closing(open_environment(shadowed.store)) as environment, reading(environment) as txn:
        tried = txn.policies_tried()
    assert tried is not None
    assert tried.content == module.UNTRIED
    assert run(shadowed, untested, no_wait).outcome == "unavailable"


def test_shadow_files_get_the_schema_that_the_live_ones_were_checked_with(
    shadowed: Errand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another one is written meanwhile: a comparison under two schemas would fail."""
    real = load

    def load_and_change(*parts: Any) -> object:  # noqa: ANN401 -- passed on
        done = real(*parts)
        (shadowed.schemas / "s.cedarschema").write_text(SCHEMA_TEXT + "\n")
        return done

    monkeypatch.setattr(module, "load", load_and_change)
    run(shadowed, untested, no_wait)
    with closing(open_environment(shadowed.store)) as environment, reading(environment) as txn:
        live, shadow = txn.policy_files(), txn.shadow_files.get()
    assert live is not None
    assert shadow is not None
    assert shadow.schemas == live.schemas


# --- The process itself


def started(errand: Errand, *words: str) -> "subprocess.Popen[bytes]":
    """Start one and give it its errand; standard input stays open."""
    command = [sys.executable, *(words or ("-m", "sidecar.app.errand"))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(errand, enc_hook=os.fspath) + b"\n")
    process.stdin.flush()
    return process


def test_an_errand_is_answered_with_one_line(shadowed: Errand) -> None:
    with started(shadowed) as process:
        assert process.stdout is not None
        found = msgspec.json.decode(process.stdout.read(), type=Finding)
        assert process.wait() == 0
    assert found.outcome == "loaded"
    assert found.shadow is not None


def test_what_is_printed_is_no_part_of_the_answer(errand: Errand) -> None:
    script = "import sidecar.app.errand as e; e.trial_in = lambda _: lambda _: print('a library talks'); e.main()"
    with started(errand, "-c", script) as process:
        assert process.stdout is not None
        assert msgspec.json.decode(process.stdout.read(), type=Finding).outcome == "loaded"
        assert process.wait() == 0


def test_a_process_that_nobody_waits_for_ends(errand: Errand) -> None:
    """Before it has switched: it still waits for the second look at the files."""
    with started(errand) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == module.EXIT_ORPHAN
    assert held(errand) == files()
