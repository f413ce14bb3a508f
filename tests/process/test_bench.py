"""The benchmark runs, and tells what it found rightly: its figures are for people, and nothing timed is tested here."""

import asyncio
import itertools
import re
import subprocess
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import orjson
import pytest
from rich.console import Console

from bench import (
    contest,
    cores,
    disk,
    doors,
    load,
    measure,
    own,
    replay,
    report,
    results,
    scaling,
    stages,
    steps,
    tables,
    workload,
)
from bench.day import HOURS, Day
from bench.foreign import Asked, Way
from bench.generator import VARIANTS, Generator, Outcome, Plan, generator, requests
from bench.machine import Machine
from bench.measure import Figures, Kind
from bench.memory import resident_mib
from bench.peers import cedar_text, deciders, install, rego
from bench.peers.contestants import Contestant, contestants
from bench.results import Line, Part, Replays, Setting, Step, Steps
from bench.servers import NotReadyError, running
from bench.subjects import Terms

ROOT = Path(__file__).resolve().parents[2]
SMALL = workload.work(3)
SETTING = Setting(
    Machine(processor="A processor", cores=2, kernel="Linux 1", python="CPython 3", file_system="ext4"),
    "server pinned to core 0, load to core 1",
    "during the run other processes took 0% of the processors, and the host 0%",
    2.0,
    "python -m bench all",
)


def figures(p50_ms: float, rate: float, **more: object) -> Figures:
    """Figures of a row in which all went well, unless ``more`` says otherwise."""
    usual = Figures(answers=1_000, p50_ms=p50_ms, p99_ms=2 * p50_ms, max_ms=9.0, rate=rate, busy=0.5, wrong=0)
    return msgspec.structs.replace(usual, **more)


def line(name: str, size: int, found: dict[int, Figures], **more: object) -> Line:
    """A line of the peers' table."""
    kind: Kind = "echo" if name == contest.ECHO else "own" if name.startswith("this") else "peer"
    usual = Line(dimension="policies", size=size, name=name, kind=kind, figures=found, memory_mib=30.4)
    return msgspec.structs.replace(usual, **more)


PEERS = Part(
    setting=SETTING,
    lines=tuple(
        each
        for size in (10, 1_000)
        for each in (
            line(contest.ECHO, size, {1: figures(0.1, 9_000), 32: figures(1, 20_000)}),
            line(own.DRY_RUN, size, {1: figures(0.2, 4_000), 32: figures(4, 8_000)}),
            line(
                "Slow", size, {1: figures(0.8, 1_000, answers=20), 32: figures(16, 2_000, wrong=3, first_wrong="500")}
            ),
            line("Gone", size, {}, memory_mib=None, missing="there is no `gone` on the PATH"),
        )
    ),
    legend={"Slow": "takes its time"},
    wrong=("the books differ",),
)
SCALED = Part(
    setting=SETTING,
    lines=tuple(
        line(scaling.PERMIT, size, {1: figures(p50, 100), 32: figures(p50, 50)}, dimension="identities", kind="own")
        for size, p50 in ((1_000, 1.0), (100_000, 1.5))
    ),
    legend=scaling.LEGEND,
)
STEPS = Steps(
    setting=SETTING,
    steps=(
        Step(name="Cedar", microseconds={"dry run": 40.0, "permit": 41.0}),
        Step(name="commit", microseconds={"permit": 20.0}),
        Step(name=stages.WHOLE, microseconds={"dry run": 90.0, "permit": 160.0}),
    ),
)


# --- The work ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policies", [1, 2, 10, 1_000])
def test_one_policy_of_so_many_decides(policies: int) -> None:
    """There are as many policies as asked for, each bound to another identity, one of them to an ancestor."""
    identities = [policy.identity for policy in workload.work(policies).policies]
    assert len(set(identities)) == policies
    assert [each for each in identities if each in workload.CHAIN] == [workload.CHAIN[2]]


def test_every_policy_of_the_work_has_a_text_in_each_language() -> None:
    """Cedar, Rego in both layouts and pycasbin are told of every identity."""
    plain = msgspec.to_builtins(SMALL)
    texts = [cedar_text.policies(plain["policies"]), rego.module(plain, "rules"), deciders.casbin_lines(plain)]
    texts.append(str(rego.data(plain, "data")))
    for policy in SMALL.policies:
        assert all(policy.identity in text for text in texts)


@pytest.mark.parametrize("layout", ["all", "candidates"])
def test_cedar_decides_each_question_of_the_work(layout: str) -> None:
    """The naive floor and its best layout agree with what the work expects."""
    decide = deciders.cedar(msgspec.to_builtins(SMALL), layout)
    for question in workload.QUESTIONS:
        assert decide(workload.flat(question)) is question.is_allowed


# --- Figures ----------------------------------------------------------------------------------------------------------


def test_a_quantile_is_a_value_that_was_measured() -> None:
    """Nearest rank: the p50 of four is the second, the p99 the last."""
    assert measure.quantile([1, 2, 3, 4], 0.5) == 2
    assert measure.quantile([1, 2, 3, 4], 0.99) == 4
    assert measure.quantile([7], 0.5) == 7


def test_rows_take_turns_and_their_slices_add_up() -> None:
    """Two seconds are two rounds, in which each row is measured once; figures are over all of its slices."""
    order: list[str] = []

    def named(name: str) -> measure.Slice:
        def taken(seconds: float, _warm_up: float) -> tuple[Outcome, "array[int]"]:
            order.append(name)
            outcome = Outcome(measured=2, seconds=seconds, right=2, wrong=1, first_wrong="no", busy=0.25)
            return outcome, array("q", [1_000_000, 3_000_000])

        return taken

    rows = [measure.Row(name, 1, named(name)) for name in ("a", "b")]
    told: list[None] = []
    measure.run(rows, 2.0, lambda: told.append(None))
    assert order == ["a", "b", "a", "b"]
    assert len(told) == len(rows) * measure.slices(2.0)
    found = rows[0].figures()
    assert (found.answers, found.p50_ms, found.p99_ms, found.rate) == (4, 1.0, 3.0, 2.0)
    assert (found.wrong, found.first_wrong, found.busy, rows[0].right) == (2, "no", 0.25, 4)


def test_a_row_without_an_answer_has_no_figures() -> None:
    """Nothing is divided by nothing."""
    assert measure.Row("a", 1, lambda _seconds, _warm_up: pytest.fail("not asked")).figures().answers == 0


def test_an_answer_is_judged_by_what_stands_at_the_end_of_its_path() -> None:
    """Keys and positions from the outside in; what is not there is None."""
    body = orjson.dumps({"results": [{"actions": {"pay": "EFFECT_ALLOW"}}]})
    assert load.told(body, ("results", 0, "actions", "pay")) == "EFFECT_ALLOW"
    assert load.told(body, ("results", 1)) is None
    assert load.told(body, ("results", "actions")) is None
    assert load.told(body, ("allowed",)) is None


def test_memory_is_that_of_a_process_and_its_children() -> None:
    """This process has some."""
    assert (resident_mib(1) is None) or (resident_mib(1) or 0) > 0


# --- Telling ----------------------------------------------------------------------------------------------------------


def test_the_table_of_peers_has_ratios_and_says_why_a_row_is_empty() -> None:
    """Beside the echo and beside our dry run of the same size; a missing peer keeps its row and its reason."""
    table = tables.peers(PEERS)
    rows = {(row[0], row[1]): dict(zip(table.headings, row, strict=True)) for row in table.rows}
    slow = rows["1,000", "Slow"]
    assert (slow["p50 ms, c=1"], slow["p99 ms, c=1"], slow["per s, c=32"], slow["MiB"]) == (
        "0.800",
        "1.600",
        "2,000",
        "30",
    )
    ratios = ("p50 : echo, c=1", "p50 : ours, c=1", "per s : ours, c=32")
    assert [slow[name] for name in ratios] == ["8.00", "4.00", "0.25"]
    assert slow["note"] == "3 wrong, few answers at c=1"
    gone = rows["10", "Gone"]
    assert gone["note"] == "there is no `gone` on the PATH"
    assert gone["p50 ms, c=1"] == gone["MiB"] == ""
    assert table.sections == {4}


def test_the_tables_of_scaling_compare_with_the_smallest() -> None:
    """A table for each dimension."""
    (table,) = tables.scaling(SCALED)
    assert table.title == "As identities grow"
    assert [row[table.headings.index("p50 : smallest, c=1")] for row in table.rows] == ["1.00", "1.50"]


def test_notes_tell_of_wrong_answers_a_busy_generator_and_a_disk_of_memory() -> None:
    """What has to be known to believe the figures."""
    busy = line("Busy", 10, {1: figures(1, 1, busy=0.95)})
    machine = msgspec.structs.replace(SETTING.machine, file_system="tmpfs")
    setting = msgspec.structs.replace(SETTING, machine=machine)
    told = "\n".join(tables.notes(msgspec.structs.replace(PEERS, setting=setting, lines=(*PEERS.lines, busy))))
    for words in (
        "busy 95%",
        "the generator's limit",
        "tmpfs",
        "wrong answer in `Slow`, policies 10, c=32: 500",
        "books",
    ):
        assert words in told


def test_the_report_is_written_from_what_was_kept(tmp_path: Path) -> None:
    """Parts come back as they were; the Markdown has every table, and a picture without scripts for each link."""
    for name, part in (("peers", PEERS), ("scaling", SCALED), ("steps", STEPS)):
        results.save(name, part, tmp_path / "kept")
    kept = tmp_path / "kept"
    assert results.part("peers", kept) == PEERS
    assert results.part("none", kept) is None
    path = tmp_path / "RESULTS.md"
    report.write(path, results.part("peers", kept), results.part("scaling", kept), results.steps(kept))
    text = path.read_text()
    for words in ("A processor, 2 cores", "**Slow**: takes its time", "| 1,000 | Slow | 0.800 |", "As identities grow"):
        assert words in text
    linked = re.findall(r"\]\((plots/\w+\.svg)\)", text)
    assert len(linked) == len(list((tmp_path / "plots").iterdir())) == 6
    for name in linked:
        drawing = (tmp_path / name).read_text()
        assert "</svg>" in drawing
        assert "<script" not in drawing
    assert "Cedar" in (tmp_path / "plots" / "steps.svg").read_text()


def test_a_history_is_made_and_decided_again(tmp_path: Path) -> None:
    """Each command is timed over all of it, proven by it, and reported; the candidate flips something."""
    timed = replay.run(150, 2, tmp_path, lambda _what: None)
    assert [each.decisions for each in timed] == [150, 150, 150]
    assert timed[0].flips == 0
    assert timed[1].flips == timed[2].flips > 0
    assert list(tmp_path.iterdir()) == []
    found = Replays(setting=SETTING, tenants=2, timed=tuple(timed))
    assert results.replays(tmp_path / "kept") is None
    results.save("replay", found, tmp_path / "kept")
    assert results.replays(tmp_path / "kept") == found
    report.write(tmp_path / "RESULTS.md", None, None, None, found)
    assert "| replay: proof and candidate | 150 |" in (tmp_path / "RESULTS.md").read_text()
    report.print_replays(found, report.console())


def test_a_report_of_nothing_is_short(tmp_path: Path) -> None:
    """A part that was never measured leaves no heading."""
    assert results.steps(tmp_path) is None
    path = tmp_path / "RESULTS.md"
    report.write(path, None, None, None)
    assert "##" not in path.read_text()


def test_a_report_ends_with_what_was_aimed_at(tmp_path: Path) -> None:
    (tmp_path / report.REACH).write_text("## Aims\n\nNone.\n")
    report.write(tmp_path / "RESULTS.md", None, None, None)
    assert (tmp_path / "RESULTS.md").read_text().endswith("ratios.\n\n## Aims\n\nNone.\n")


def test_tables_are_printed_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is cut where the output is no terminal."""
    report.print_part(PEERS, [tables.peers(PEERS)], report.console())
    report.print_steps(STEPS, report.console())
    printed = capsys.readouterr().out
    for words in ("there is no `gone` on the PATH", own.DRY_RUN, "the whole request", "160.0"):
        assert words in printed


# --- Runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(name="driver", scope="module")
def one_generator() -> Iterator[Generator]:
    """One load generator for all runs."""
    with generator() as driver:
        yield driver


def test_a_round_measures_everybody_who_can_be_had(
    driver: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our rows and a peer's are right, the books agree; one that is not to be had keeps its line and says why."""

    def unavailable() -> Path:
        raise install.UnavailableError("its package is not to be had")

    shelled = [each for each in contestants() if each.name.startswith(("cedarpy", "pycasbin in the shell, filtered"))]
    monkeypatch.setattr(install, "python", lambda: Path(sys.executable))  # no peer is installed by a test
    monkeypatch.setattr(contest, "contestants", lambda: (*shelled, _absent(unavailable)))
    terms = Terms(connections=(1, 2), seconds=0.1, placed=cores.choose(), data_dir=tmp_path)
    found, wrong = contest.hold(tmp_path, SMALL, driver, terms, Console(quiet=True))
    assert wrong == []
    by_name = {each.name: each for each in found}
    assert by_name["Absent"].missing == "its package is not to be had"
    assert "ended before it was ready" in by_name["pycasbin in the shell, filtered"].missing
    durabilities = [f"this project, permit, {each}" for each in ("process-crash", "power-loss")]
    ours = [own.DRY_RUN, own.VARIED_DRY_RUN, *durabilities, contest.HEALTH, contest.ECHO]
    for name in (*ours, f"{own.DRY_RUN}, UDS", *(f"{each}, UDS" for each in durabilities), shelled[-1].name):
        assert by_name[name].figures.keys() == {1, 2}
        assert all(row.answers and not row.wrong for row in by_name[name].figures.values()), by_name[name]
        assert by_name[name].memory_mib
    assert by_name[disk.NAME].figures[1].answers
    assert set(contest.legend(found)) >= {own.DRY_RUN, disk.NAME, shelled[-1].name}


def _absent(python: object) -> Contestant:
    def start(*_arguments: object) -> object:
        return python()  # type: ignore[operator]

    return msgspec.structs.replace(contestants()[0], name="Absent", start=start)


def test_scaling_measures_a_filled_store(tmp_path: Path) -> None:
    """One size of one dimension on a store that was filled, one on a tenant made over HTTP."""
    chosen = tuple(each for each in scaling.DIMENSIONS if each.name in {"open reservations", "budgets on the chain"})
    terms = Terms(connections=(1,), seconds=0.1, placed=cores.choose(), data_dir=tmp_path)
    found = scaling.scale(scaling.Choice(chosen, sizes_max=1), terms, Console(quiet=True))
    assert {(each.dimension, each.size) for each in found} == {("open reservations", 1), ("budgets on the chain", 0)}
    for each in found:
        assert not each.figures[1].wrong, each


def test_the_steps_of_a_decision_are_still_where_they_were() -> None:
    """Each step names at least one function that exists."""
    for name, places in stages.STEPS.items():
        assert any(stages.find(place) for place in places), name


def test_every_step_is_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own for each kind of run; a dry run reserves nothing."""
    monkeypatch.setattr(steps, "KINDS", (steps.KINDS[0], steps.KINDS[-1]))
    found = steps.measure(steps.Size(1, 32), tmp_path, None, lambda _name: None)
    assert {step.name for step in found} == {*stages.STEPS, stages.REST, stages.WHOLE, stages.CPU}
    by_name = {step.name: step.microseconds.keys() for step in found}
    assert by_name["reserve: counters and reservation"] == {steps.KINDS[-1].name}
    assert by_name["Cedar"] == {kind.name for kind in steps.KINDS}


def test_every_door_is_timed_beside_the_native_call(tmp_path: Path) -> None:
    """Each answers with a permit; a table's first row is the native call, which the others are compared with."""
    tables = doors.run(tmp_path, doors.QUICK)
    assert [[cost.name for cost in table] for table in tables] == [
        ["native", "AuthZEN evaluation", "Envoy over HTTP", "forward-auth", "MCP"],
        ["native, with a card", "Stripe", "Lithic"],
        ["native", "Envoy over HTTP", "Envoy over gRPC"],
    ]
    assert [table[0].ratio for table in tables] == [1.0, 1.0, 1.0]


def test_a_door_that_does_not_permit_is_not_timed() -> None:
    """What a denial takes says nothing."""
    way = Way("shut", lambda: Asked("GET", "/", []), words=b'"allowed":true')

    async def denied(_asked: Asked) -> tuple[int, bytes]:
        return 200, b'{"allowed":false}'

    with pytest.raises(click.ClickException, match="shut: no permit: 200"):
        asyncio.run(doors.timed(way, denied, time.perf_counter).once())


def test_a_ratio_is_that_of_the_same_round() -> None:
    """The median of the rounds' own ratios: a round in which the machine was slow moves none of them."""
    seconds = {"native": itertools.cycle([1.0, 9.0, 2.0]), "door": itertools.cycle([2.0, 18.0, 4.0])}

    def timed(name: str) -> doors.Timed:
        async def once() -> float:
            return next(seconds[name])

        return doors.Timed(name, once)

    native, door = asyncio.run(doors.measure([timed("native"), timed("door")], doors.Size(3, 1, 0)))
    assert (native.microseconds, native.ratio) == (2_000_000, 1.0)
    assert (door.microseconds, door.ratio) == (4_000_000, 2.0)


def test_a_step_that_is_gone_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured under a name that means nothing any more."""
    monkeypatch.setattr(stages, "STEPS", {"gone": ("sidecar.core.gone:function", "sidecar.core.ids:gone")})
    with pytest.raises(stages.NoSuchStepError, match="out of date"), stages.watched():
        pytest.fail("it is gone")


@pytest.mark.parametrize("arguments", [["--help"], ["all", "--help"]])
def test_the_commands_explain_themselves(arguments: list[str]) -> None:
    """Help needs no server."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    """Its last line is told."""
    command = [sys.executable, "-c", "raise SystemExit('no such port')"]
    with pytest.raises(NotReadyError, match="no such port"), running(command, tmp_path, None):
        pytest.fail("it is not ready")


def test_a_day_has_few_agents_at_night_and_ends() -> None:
    """The busiest hours have all agents, every hour has one at least."""
    day = Day(seconds=60, users=40)
    hour = day.seconds / len(HOURS)
    agents = [day.agents_at((number + 0.5) * hour) for number in range(len(HOURS))]
    counts = [each[0] for each in agents if each is not None]
    assert len(counts) == len(HOURS)
    assert max(counts) == day.users
    assert 1 <= min(counts) < day.users / 10
    assert day.agents_at(day.seconds) is None


@pytest.mark.timeout(60)
def test_a_short_day_passes_without_a_failure(tmp_path: Path) -> None:
    """Locust itself judges every answer, and its exit code says so."""
    command = [sys.executable, "-m", "bench", "day", "--seconds", "3", "--users", "3", "--data-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tool, permit" in done.stdout + done.stderr


def test_varied_requests_differ_in_the_amount_alone() -> None:
    plan = Plan(host="", port=0, request=b"amount 47.23!", connections=1, path=(), value=True, varied="47.23")
    found = requests(plan)
    assert len(set(found)) == len(found) == VARIANTS
    assert (found[0], found[-1]) == (b"amount 10.00!", b"amount 99.99!")
    assert requests(msgspec.structs.replace(plan, varied="")) == [plan.request]
