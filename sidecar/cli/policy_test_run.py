"""One run of policy tests: reads the files, decides every case, in several processes where there are many, and counts.

Results come in the order of files and tests, however they were shared out. Nothing is decided when one file is broken:
all broken ones are named.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from rich.console import Console
from rich.progress import track

from sidecar.core.coverage import Coverage, Mark, Prober, cover
from sidecar.core.errors import ConfigurationInvalid, PolicyInvalid, SidecarError
from sidecar.core.policy_files import check_files
from sidecar.core.snapshot import CompiledFiles, PolicyFiles, TenantPolicies, compile_files
from sidecar.replica.files import read_files
from sidecar.replica.policy_tests import TEST_SUFFIX, PolicyTestFile, chosen_test_files, read_test_file
from sidecar.replica.selection import policies_around
from sidecar.service.policy_tests import Bench, Case, Decided, Result

Step = TypeVar("Step")

CASES_PER_PROCESS_MIN: Final = 1_000
"""Cases that are worth a process of its own: starting one takes as long as deciding them."""


class Wanted(msgspec.Struct, frozen=True):
    """What to run. ``policies`` None is the folder that ``paths`` belong to, or the folder `policies`."""

    paths: tuple[Path, ...]
    policies: Path | None
    schemas: Path
    needle: str
    coverage: bool
    jobs: int | None

    @property
    def policies_folder(self) -> Path:
        """The folder of the policies that are tested."""
        return policies_around(self.paths, Path("policies")) if self.policies is None else self.policies


class Timed(msgspec.Struct, frozen=True):
    """A result, and how long it took."""

    result: Result
    seconds: float


class Run(msgspec.Struct, frozen=True):
    """What came of all tests; ``coverage`` where it was asked for."""

    timed: tuple[Timed, ...]
    seconds: float
    coverage: Coverage | None

    @property
    def results(self) -> tuple[Result, ...]:
        """The results by themselves."""
        return tuple(each.result for each in self.timed)

    @property
    def failed(self) -> int:
        """How many tests came out otherwise than expected."""
        return sum(bool(each.differences) for each in self.results)

    @property
    def broken(self) -> int:
        """How many could not be decided."""
        return sum(each.fault is not None for each in self.results)

    @property
    def passed(self) -> int:
        """How many passed."""
        return len(self.timed) - self.failed - self.broken


def run_tests(wanted: Wanted) -> Run:
    """Run them. Raises ConfigurationInvalid, one line for each mistake, when nothing could be run."""
    begun = time.perf_counter()
    files = _policy_files(wanted)
    compiled = compile_files(files)
    cases = _chosen(_read(_found(wanted), compiled), wanted)
    timed, marks = _share_out(files, compiled, cases, wanted)
    coverage = None
    if wanted.coverage:
        tenants = {case.setting.tenant.tenant_id for case in cases}
        own = (unit for tenant in sorted({*files.by_tenant, *tenants}) for unit in compiled.by_tenant.of(tenant))
        coverage = cover((*compiled.shared, *own), marks)
    return Run(timed, time.perf_counter() - begun, coverage)


def _policy_files(wanted: Wanted) -> PolicyFiles:
    try:
        files = read_files(wanted.policies_folder, wanted.schemas)
        check_files(files)
    except PolicyInvalid as error:
        raise ConfigurationInvalid(str(error)) from error
    except SidecarError as error:
        raise ConfigurationInvalid(error.message) from error
    return files


def _found(wanted: Wanted) -> list[PolicyTestFile]:
    found: dict[Path, PolicyTestFile] = {}
    for path in wanted.paths:
        if not path.exists():
            raise ConfigurationInvalid(f"`{path}` does not exist")
        for each in chosen_test_files(path, (wanted.policies_folder,)):
            found.setdefault(each.path.absolute(), each)
    if not found:
        shown = ", ".join(f"`{path}`" for path in wanted.paths)
        raise ConfigurationInvalid(f"no tests in {shown}, expected files called `*{TEST_SUFFIX}`")
    return list(found.values())


def _read(found: Iterable[PolicyTestFile], compiled: CompiledFiles) -> list[Case]:
    cases: list[Case] = []
    broken: list[str] = []
    for file in found:
        try:
            cases += read_test_file(file, compiled.schema.model)
        except ConfigurationInvalid as error:
            broken.append(error.message)
    if broken:
        raise ConfigurationInvalid("\n".join(broken))
    return cases


def _chosen(cases: list[Case], wanted: Wanted) -> list[Case]:
    needle = wanted.needle.lower()
    chosen = [case for case in cases if needle in case.name.lower()]
    if not chosen:
        raise ConfigurationInvalid(f"none of {len(cases)} tests has `{wanted.needle}` in its name")
    return chosen


def _share_out(
    files: PolicyFiles, compiled: CompiledFiles, cases: Sequence[Case], wanted: Wanted
) -> tuple[tuple[Timed, ...], frozenset[Mark]]:
    processes = min(wanted.jobs or os.cpu_count() or 1, -(-len(cases) // CASES_PER_PROCESS_MIN))
    if processes <= 1:
        return _decide(compiled, _shown(cases, len(cases)), wanted.coverage)
    share = -(-len(cases) // processes)
    shares = [(files, cases[start : start + share], wanted.coverage) for start in range(0, len(cases), share)]
    context = multiprocessing.get_context("spawn")  # the engine has threads of its own, which a fork would lose
    # Ctrl-C reaches every process of the terminal: these end by it without a word.
    ending = (signal.SIGINT, signal.SIG_DFL)
    try:
        with ProcessPoolExecutor(processes, mp_context=context, initializer=signal.signal, initargs=ending) as pool:
            done = list(_shown(pool.map(_decide_share, shares), len(shares)))
    except BrokenProcessPool as error:
        raise ConfigurationInvalid("a process that ran tests ended before it was done") from error
    timed = tuple(each for some, _ in done for each in some)
    return timed, frozenset[Mark]().union(*(marks for _, marks in done))


def _shown(steps: Iterable[Step], total: int) -> Iterable[Step]:
    """Yield what is given while a terminal is shown how far it got."""
    terminal = Console(stderr=True)
    return track(steps, "testing", total, console=terminal, transient=True, disable=not terminal.is_terminal)


def _decide_share(share: tuple[PolicyFiles, Sequence[Case], bool]) -> tuple[tuple[Timed, ...], frozenset[Mark]]:
    """Decide what one process was given, which has nothing but that."""
    files, cases, coverage = share
    return _decide(compile_files(files), cases, coverage)


def _decide(
    compiled: CompiledFiles,
    cases: Iterable[Case],
    coverage: bool,  # noqa: FBT001 (what is asked, as it was asked)
) -> tuple[tuple[Timed, ...], frozenset[Mark]]:
    bench = Bench(compiled)
    watch = _Watch() if coverage else None
    timed = []
    for case in cases:
        begun = time.perf_counter()
        result, decided = bench.run(case)
        timed.append(Timed(result, time.perf_counter() - begun))
        if watch is not None:
            watch.see(decided)
    return tuple(timed), frozenset() if watch is None else frozenset(watch.marks)


class _Watch:
    """Collects what the decisions have tried of their policies."""

    def __init__(self) -> None:
        self.marks: set[Mark] = set()
        self._prober: tuple[TenantPolicies, Prober] | None = None

    def see(self, decided: Iterable[Decided]) -> None:
        for each in decided:
            proposal = each.judgement.proposal
            if proposal.asked is not None:
                prober = self._of(each.policies)
                asked = proposal.asked
                self.marks |= prober.marks(proposal.ruling, asked.question.request, asked.entities())

    def _of(self, policies: TenantPolicies) -> Prober:
        if self._prober is None or self._prober[0] is not policies:
            self._prober = policies, Prober(policies.policies, policies.schema)
        return self._prober[1]


def fingerprint(wanted: Wanted) -> tuple[tuple[str, bytes], ...]:
    """Return what changes when a policy, a schema or a test file does; by content, never by time."""
    policies, schemas = wanted.policies_folder, wanted.schemas
    paths = [*policies.glob("*.cedar"), *policies.glob("*/*.cedar"), *schemas.glob("*.cedarschema")]
    for path in wanted.paths:
        try:
            paths += [each.path for each in chosen_test_files(path, ())]
        except ConfigurationInvalid:  # what is being replaced is there at the next look
            continue
    return tuple((str(path), _content(path)) for path in sorted(paths))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # an editor is just replacing it
        return b""
