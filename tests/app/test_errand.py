"""Loading policy files in a process of its own: what is found of them, and its end when nobody waits for it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sidecar.app import errand as module
from sidecar.app.errand import LOOKS_MAX, Errand, Finding, run, settled
from sidecar.app.loading import load, untested
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import PolicyFiles
from sidecar.state.environment import MapFull, open_environment
from tests.core.builders import SCHEMA_TEXT, files
from tests.state.builders import reading

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


# --- The process itself


def started(errand: Errand) -> "subprocess.Popen[bytes]":
    """Start one and give it its errand; standard input stays open."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sidecar.app.errand"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(errand, enc_hook=os.fspath) + b"\n")
    process.stdin.flush()
    return process


def test_an_errand_is_answered_with_one_line(errand: Errand) -> None:
    with started(errand) as process:
        assert process.stdout is not None
        found = msgspec.json.decode(process.stdout.read(), type=Finding)
        assert process.wait() == 0
    assert found.outcome == "loaded"


def test_a_process_that_nobody_waits_for_ends(errand: Errand) -> None:
    """Before it has switched: it still waits for the second look at the files."""
    with started(errand) as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == module.EXIT_ORPHAN
    assert held(errand) == files()
