"""A dialect translates: it is short, decides nothing, stores nothing, and speaks in a manner of its own.

What a dialect may take from the core is written down here; a name that is missing is either a value to parse or render,
and is added, or a rule, and belongs to a service.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.doors.wire.endpoint import Call, Endpoint
from sidecar.doors.wire.manner import NATIVE
from tests.doors.door import Door

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "sidecar" / "doors" / "dialects"
MODULES = sorted(FOLDER.glob("*.py"))
LINES_BELOW = 400
PREFIXES = ("/ledger/", "/tledger/", "/tally/")
PROTOCOLS = (
    "/access/v1/",
    "/.well-known/authzen-",
    "/{tenant_id}/access/v1/",
    "/card-network/",
    "/envoy",
    "/forward-auth",
)
"""Paths of protocols that are no vendor's and speak in a manner of their own as well."""

NEVER = ("sidecar.state", "sidecar.replica", "sidecar.app", "sidecar.settings", "sidecar.cli", "cedarpy", "lmdb")
"""Rooms and packages that a dialect has no business in."""

DECIDING = {
    "admission": {"Admission"},
    "budget": {"AMOUNT", "COUNT", "Budget", "OnExceeded", "OnExpiry"},
    "policy": set(),
    "policy_set": set(),
    "reservation": {"Reservation"},
    "restrictions": set(),
    "rules": {"Rules", "read_rules"},
    "ruling": set(),
    "slicing": set(),
    "snapshot": set(),
    "standing": set(),
    "verification": set(),
}
"""Modules of the core that decide -> the values that a dialect may name nevertheless."""

STORING = {"store", "event_store", "log_store", "policy_store", "shadow_store"}
"""Ports of the store, which only services work on."""


def imported(module: Path) -> Iterator[tuple[str, str]]:
    """Yield each module that is imported, with the name taken from it, empty for the whole."""
    for node in ast.walk(ast.parse(module.read_text(), str(module))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are whole"
            yield from ((node.module or "", alias.name) for alias in node.names)


def reaches(name: str, room: str) -> bool:
    """Whether a module is in a room."""
    return name == room or name.startswith(f"{room}.")


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_is_short(module: Path) -> None:
    assert len(module.read_text().splitlines()) < LINES_BELOW


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_knows_no_room_beside_or_above_it(module: Path) -> None:
    for name, taken in imported(module):
        assert not any(reaches(name, room) or reaches(f"{name}.{taken}", room) for room in NEVER), (name, taken)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_module_takes_no_rule_and_no_store(module: Path) -> None:
    for name, taken in imported(module):
        ring, _, noun = name.removeprefix("sidecar.").partition(".")
        if ring == "core":
            assert (noun or taken) not in DECIDING or taken in DECIDING[noun], f"{taken} of {name} decides"
        if ring == "service":
            assert (noun or taken) not in STORING, f"{name} is the services' own"


@pytest.fixture
def dialect_calls(door: Door) -> dict[str, Call]:
    """Every call that is served below the path of a dialect, by method and path."""
    found = {}
    for route in door.routes():
        assert isinstance(route.endpoint, Endpoint)
        for method, call in route.endpoint.calls.items():
            if f"{route.path}/".startswith(PREFIXES):
                found[f"{method} {route.path}"] = call
    return found


def test_every_call_speaks_in_a_manner_of_its_own(dialect_calls: dict[str, Call]) -> None:
    assert dialect_calls
    native = [name for name, call in dialect_calls.items() if call.manner in {None, NATIVE}]
    assert native == []


def test_no_call_is_in_the_description_of_the_native_api(door: Door, dialect_calls: dict[str, Call]) -> None:
    assert [name for name, call in dialect_calls.items() if call.is_documented] == []
    described = door.contract.description["paths"]
    assert [path for path in described if path.startswith(PREFIXES)] == []


def test_the_calls_of_a_dialect_are_all_below_its_path(door: Door) -> None:
    """A manner that is not the native one is nowhere else."""
    strangers = [
        route.path
        for route in door.routes()
        if isinstance(route.endpoint, Endpoint)
        for call in route.endpoint.calls.values()
        if call.manner not in {None, NATIVE} and not route.path.startswith((*PREFIXES, *PROTOCOLS))
    ]
    assert strangers == []


def test_an_unknown_path_is_answered_in_the_manner_of_its_dialect(door: Door, dialect_calls: dict[str, Call]) -> None:
    paths = [name.partition(" ")[2] for name in dialect_calls]
    for prefix in {prefix for prefix in PREFIXES for path in paths if path.startswith(prefix)}:
        answer = door.call("GET", f"{prefix}no/such/path")
        assert answer.status == 404
        assert set(answer.document) != {"error", "type", "request_id"}, prefix
