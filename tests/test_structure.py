"""The shape of the code itself: sizes, names, and the few constructs that a ring or a module must not use.

What import-linter can say is said in `pyproject.toml`; here stands what needs the text or the syntax tree.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {str(path.relative_to(ROOT)): path.read_text() for path in sorted((ROOT / "sidecar").rglob("*.py"))}
TREES = {name: ast.parse(text, name) for name, text in MODULES.items()}

MODULE_LINES = 300
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
FUNCTION_LINES_AT_90TH_PERCENTILE = 40
# Module of more than `MODULE_LINES` -> why it is one thing nevertheless.
LONG_WITH_REASON = {
    "sidecar/core/policy.py": "all that touches the engine's binding, which one module may import",
    "sidecar/core/verification.py": "one reader with a sentence per fault, and the facts it checks as it goes",
}

NAMES_THAT_SAY_NOTHING = {"base", "common", "handler", "handlers", "helper", "helpers", "manager", "managers", "misc"}
NAMES_THAT_SAY_NOTHING |= {"util", "utils"}
AMBIENT_CALLS = {"input", "now", "open", "today", "utcnow"}
AMBIENT_WITH_REASON = {"sidecar/core/windows.py": {"open"}}  # zone rules are constants of the pinned package `tzdata`

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(name: str) -> list[Function]:
    """Every function and method of the module, nested ones too."""
    return [node for node in ast.walk(TREES[name]) if isinstance(node, Function)]


def lines(function: Function) -> int:
    """Lines from `def` to the end, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def calls(name: str) -> set[str]:
    """The last name of everything that the module calls: `now` for `datetime.now()`."""
    called = [node.func for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]
    return {f.id for f in called if isinstance(f, ast.Name)} | {f.attr for f in called if isinstance(f, ast.Attribute)}


def in_ring(*rings: str) -> list[str]:
    """The modules of these rings."""
    return [name for name in MODULES if name.split("/")[1] in rings]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_opens_with_what_it_owns(name: str) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(TREES[name])


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_named_by_a_domain_noun(name: str) -> None:
    """No file or folder is called by a word that any module could bear."""
    assert not set(Path(name).with_suffix("").parts) & NAMES_THAT_SAY_NOTHING


@pytest.mark.parametrize("name", MODULES)
def test_a_long_module_has_a_reason_and_a_limit(name: str) -> None:
    """More than 300 lines need a reason in `LONG_WITH_REASON`, which holds no stale one; more than 400 are refused."""
    length = len(MODULES[name].splitlines())
    assert length <= MODULE_LINES_MAX
    assert (length > MODULE_LINES) == (name in LONG_WITH_REASON)


def test_reasons_are_given_for_modules_that_exist() -> None:
    """A reason goes when its module goes."""
    assert set(LONG_WITH_REASON) <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_function_has_a_limit(name: str) -> None:
    """No function is longer than 70 lines."""
    assert [f"{f.name}: {lines(f)}" for f in functions(name) if lines(f) > FUNCTION_LINES_MAX] == []


def test_functions_are_mostly_short() -> None:
    """Nine functions of ten have at most 40 lines."""
    lengths = sorted(lines(function) for name in MODULES for function in functions(name))
    assert lengths[len(lengths) * 9 // 10] <= FUNCTION_LINES_AT_90TH_PERCENTILE


@pytest.mark.parametrize("name", in_ring("core"))
def test_core_is_given_time_and_files(name: str) -> None:
    """Core reads no clock, no file and no input, even through a module it may import."""
    assert calls(name) & AMBIENT_CALLS == AMBIENT_WITH_REASON.get(name, set())


@pytest.mark.parametrize("name", in_ring("service"))
def test_services_are_given_the_time(name: str) -> None:
    """Time is read once per request, at the door; a service never asks for it."""
    assert calls(name) & {"now", "time", "time_ns", "today", "utcnow"} == set()


def test_money_is_never_a_float() -> None:
    """`core/money.py` neither makes a float nor divides into one."""
    assert "float" not in calls("sidecar/core/money.py")
    operators = {type(node) for node in ast.walk(TREES["sidecar/core/money.py"]) if isinstance(node, ast.operator)}
    assert ast.Div not in operators


@pytest.mark.parametrize("name", MODULES)
def test_an_exclusion_from_coverage_gives_its_reason(name: str) -> None:
    """`pragma: no cover` is followed, on its line, by why."""
    marks = re.findall(r"pragma: no (?:cover|branch)(.*)", MODULES[name])
    assert [mark for mark in marks if not re.search(r"\w{2,}", mark)] == []


@pytest.mark.parametrize("name", [name for name in in_ring("core") if functions(name)])
def test_core_is_mirrored_by_its_tests(name: str) -> None:
    """`core/money.py` is tested by `tests/core/test_money*.py`, so that its rules are found without a search."""
    relative = Path(name).relative_to("sidecar")
    assert list((ROOT / "tests" / relative.parent).glob(f"test_{relative.stem}*.py")) != []


def test_test_folders_are_the_rings() -> None:
    """Besides the rings there are only the shared corpus and the tests of whole processes."""
    folders = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.iterdir())} - {"__pycache__"}
    assert folders <= {p.name for p in (ROOT / "sidecar").iterdir() if p.is_dir()} | {"cases", "process"}
