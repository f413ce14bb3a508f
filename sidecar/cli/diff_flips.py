"""The requests that ``sidecar diff`` lets both sets decide: from policy tests, from a data directory or an export."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import Progress, TaskID

from sidecar.cli.histories import Source
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.policy_files import check_files
from sidecar.core.snapshot import CompiledFiles, PolicyFiles, compile_files
from sidecar.replica.policy_tests import chosen_test_files, read_test_file
from sidecar.service.chain_proof import verify_chain
from sidecar.service.courses import Candidate
from sidecar.service.flips import Flips, flips_of_history, flips_of_tests
from sidecar.service.policy_tests import Case
from sidecar.service.replay import Comparison, Span, between, compare


class Tried(msgspec.Struct, frozen=True):
    """What came of the requests that were asked for; None of those that were not."""

    tests: Flips | None = None
    history: Flips | None = None

    @property
    def flips(self) -> bool:
        """Whether anything flips."""
        return any(each is not None and each.flips for each in (self.tests, self.history))


class Requests(msgspec.Struct, frozen=True):
    """Where requests come from: a test file or a folder of them, and a history, of one tenant or of all.

    ``policies`` are the folders in which a test is about the tenant whose folder it lies in.
    """

    tests: Path | None
    policies: tuple[Path, ...]
    history: Source | None
    tenant_id: str | None


def try_out(requests: Requests, old: tuple[str, PolicyFiles], new: tuple[str, PolicyFiles]) -> Tried:
    """Let both sets, each with its name, decide the requests.

    Raises ConfigurationInvalid for a set without a schema or that does not hold, and for requests that cannot be read.
    """
    if requests.tests is None and requests.history is None:
        return Tried()
    before, after = _compiled(*old), _compiled(*new)
    tests = None if requests.tests is None else flips_of_tests(_cases(requests, after), before, after)
    history = None
    if requests.history is not None:
        history = flips_of_history(_compared(requests.history, requests.tenant_id, (old[1], new[1])))
    return Tried(tests, history)


def _compiled(name: str, found: PolicyFiles) -> CompiledFiles:
    if not found.schemas:
        raise ConfigurationInvalid(f"the set `{name}` has no schema to decide with: name it with --schemas")
    try:
        check_files(found)
        return compile_files(found)
    except ValidationFailed as error:
        raise ConfigurationInvalid(f"the set `{name}` decides nothing: {error.message}") from error


def _cases(requests: Requests, compiled: CompiledFiles) -> Iterator[Case]:
    assert requests.tests is not None  # noqa: S101 - INVARIANT: asked for only where there are some
    for file in chosen_test_files(requests.tests, requests.policies):
        yield from read_test_file(file, compiled.schema.model)


def _compared(source: Source, tenant_id: str | None, sets: tuple[PolicyFiles, PolicyFiles]) -> list[Comparison]:
    terminal = Console(stderr=True)
    found: list[Comparison] = []
    with (
        source.opened(tenant_id) as chronicles,
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress,
    ):
        for chronicle in chronicles:
            task = progress.add_task(chronicle.tenant_id, total=chronicle.size)
            fault = verify_chain(chronicle, partial(_advance, progress, task)).fault
            if fault is not None:
                raise ConfigurationInvalid(f"{chronicle.place(fault.seq)}: {fault.found}")
            courses = between(Candidate(sets[0]), Candidate(sets[1]))
            try:
                found.append(compare(chronicle, courses, Span(), partial(_advance, progress, task)))
            except ValidationFailed as error:
                raise ConfigurationInvalid(error.message) from error
    return found


def _advance(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)
