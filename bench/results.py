"""The figures as they are kept: one file of JSON for each part of the benchmark, from which tables and plots are drawn.

They lie in ``bench/.results/``, which git ignores, so that parts can be measured one at a time and reported together.
"""

from pathlib import Path
from typing import Final

import msgspec

from bench.machine import Machine
from bench.measure import Figures, Kind
from bench.servers import ROOT

FOLDER: Final = ROOT / "bench" / ".results"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one subject at one size of one dimension.

    ``figures`` are by number of connections; empty where there are none, and ``missing`` says why.
    """

    dimension: str
    size: int
    name: str
    kind: Kind
    figures: dict[int, Figures] = {}
    memory_mib: float | None = None
    missing: str = ""


class Setting(msgspec.Struct, frozen=True):
    """What a run was made on, beside what (``strain``, a clause), for how long a row, and by which command."""

    machine: Machine
    cores: str
    strain: str
    seconds: float
    command: str


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the benchmark; ``legend`` says what each subject does, ``wrong`` what must not have happened."""

    setting: Setting
    lines: tuple[Line, ...]
    legend: dict[str, str] = {}
    wrong: tuple[str, ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one step of a decision costs, of one request in each kind of run."""

    name: str
    microseconds: dict[str, float]


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of a decision, in their order."""

    setting: Setting
    steps: tuple[Step, ...]


class Timed(msgspec.Struct, frozen=True):
    """How long one command took over a history, and how much it said."""

    name: str
    seconds: float
    decisions: int
    flips: int


class Replays(msgspec.Struct, frozen=True, kw_only=True):
    """How long a history takes to be decided again; ``tenants`` are those that it is spread over."""

    setting: Setting
    tenants: int
    timed: tuple[Timed, ...]


def save(name: str, part: Part | Steps | Replays, folder: Path = FOLDER) -> None:
    """Keep a part under ``name``; an earlier one of that name goes."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(part)))


def part(name: str, folder: Path = FOLDER) -> Part | None:
    """Return the part of that name, None when it was never measured."""
    path = folder / f"{name}.json"
    return msgspec.json.decode(path.read_bytes(), type=Part) if path.exists() else None


def steps(folder: Path = FOLDER) -> Steps | None:
    """Return the stages of a decision, None when they were never measured."""
    path = folder / "steps.json"
    return msgspec.json.decode(path.read_bytes(), type=Steps) if path.exists() else None


def replays(folder: Path = FOLDER) -> Replays | None:
    """Return how long replays take, None when they were never measured."""
    path = folder / "replay.json"
    return msgspec.json.decode(path.read_bytes(), type=Replays) if path.exists() else None
