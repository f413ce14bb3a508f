"""What must never be done to the lock file, nor with an environment after a fork (rules 5 and 7)."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted((ROOT / "sidecar").rglob("*.py"))

WATCHED = """
import sys
from pathlib import Path
touched = []
def watch(event, arguments):
    if event in {"open", "os.open", "os.remove", "os.rename", "os.truncate", "shutil.copyfile"}:
        touched.extend(str(each) for each in arguments if str(each).endswith("lock.mdb"))
sys.addaudithook(watch)

from sidecar.app.prepare import prepare
from sidecar.settings import Settings
from sidecar.state.boot import check_store, newest_time
from sidecar.state.environment import open_existing
from sidecar.state.fsck import check
from tests.service.builders import OPERATOR, World, limit, payment

folder = Path(sys.argv[1])
prepare(Settings(data_dir=folder, policies=Path("policies"), schemas=Path("schemas")))
with World(folder) as world:
    world.tenant()
    world.budget(limit(100))
    world.settle(str(world.decide(payment()).decision_id))
    world.store.tend()
    world.store.require_room()
    check_store(world.environment)
    newest_time(world.environment)
    list(check(world.environment))
    world.environment.grow()
environment = open_existing(folder / "db")
environment.close()
print(touched)
open(folder / "db" / "lock.mdb").close()
print(len(touched))
"""


def test_the_lock_file_is_never_opened_by_our_own_code(tmp_path: Path) -> None:
    """Rule 5: closing such a descriptor would drop LMDB's locks and let two writers in.

    The last line of the program shows that the hook would have seen it.
    """
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["[]", "1"]


def forks(tree: ast.AST) -> bool:
    """Whether a module forks, or lets something run between fork and exec."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    keywords = {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    if starts_anew(tree):
        names -= {"multiprocessing"} | ({"concurrent.futures"} if "mp_context" in keywords else set())
    return bool(names & {"fork", "forkpty", "multiprocessing", "concurrent.futures"}) or "preexec_fn" in keywords


def starts_anew(tree: ast.AST) -> bool:
    """Whether a module uses of `multiprocessing` only the context that starts an interpreter of its own."""
    used = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "multiprocessing"
    ]
    made = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.func in used]
    return len(made) == len(used) and set(made) == {"multiprocessing.get_context('spawn')"}


def test_no_process_is_forked_from_one_that_could_have_a_store_open() -> None:
    """Rule 7: an inherited environment can write, so workers are started anew."""
    assert forks(ast.parse("import os; os.fork()"))
    assert forks(ast.parse("import multiprocessing; multiprocessing.Process()"))
    assert forks(ast.parse("import multiprocessing; multiprocessing.get_context('fork')"))
    assert not forks(ast.parse("import multiprocessing; multiprocessing.get_context('spawn')"))
    assert [path for path in MODULES if forks(ast.parse(path.read_text()))] == []


def texts(tree: ast.AST) -> list[str]:
    """The texts of a module that are no prose."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in prose]
    return [node.value for node in constants if isinstance(node.value, str)]


def test_nobody_names_the_lock_file_outside_of_prose() -> None:
    """Rule 5, in the text: it is in no expression."""
    assert texts(ast.parse("open('lock.mdb')")) == ["lock.mdb"]
    assert [path for path in MODULES if any("lock.mdb" in text for text in texts(ast.parse(path.read_text())))] == []


def test_tables_are_opened_once_in_one_write_transaction() -> None:
    """Rule 6: a handle opened in a read transaction is dead afterwards, and without one the GIL is held."""
    tree = ast.parse((ROOT / "sidecar" / "state" / "environment.py").read_text())
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "open_db"
    ]
    assert calls
    assert all(any(keyword.arg == "txn" for keyword in call.keywords) for call in calls)
    others = [path for path in MODULES if "open_db" in path.read_text() and path.name != "environment.py"]
    assert others == []
