"""Gets the peers into ``bench/.peers/``, which git ignores: pinned versions with hashes, nothing outside that folder.

The Python ones come from ``requirements/bench.lock`` into a virtual environment of their own, the others from the lock
beside this file by npm. What is there already is left alone unless its pins changed. A peer that cannot be had is no
error: its reason is told in the table.
"""

import filecmp
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.servers import ROOT

FOLDER: Final = ROOT / "bench" / ".peers"
PYTHON: Final = FOLDER / "python"
NODE: Final = FOLDER / "node"
PINS: Final = ROOT / "requirements" / "bench.lock"
OPA_PINS: Final = ROOT / "requirements" / "opa.lock"
NODE_PINS: Final = tuple(ROOT / "bench" / "peers" / name for name in ("package.json", "package-lock.json", ".npmrc"))
INSTALL_SECONDS: Final = 300
TOLD_MAX: Final = 200


class UnavailableError(Exception):
    """A peer cannot be had here; the message says why, in a clause."""


def python() -> Path:
    """Return the interpreter of the Python peers' environment, made if need be; raises UnavailableError."""
    interpreter, done = PYTHON / "bin" / "python", PYTHON / PINS.name
    if not _is_same(PINS, done):
        shutil.rmtree(PYTHON, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(PYTHON)])
        _pip_install(interpreter, PINS)
        shutil.copy(PINS, done)
    return interpreter


def python_with_opa() -> Path:
    """Return the same interpreter once it has OPA's engine as well; raises UnavailableError."""
    interpreter, done = python(), PYTHON / OPA_PINS.name
    if not _is_same(OPA_PINS, done):
        # Its metadata ask for a newer Python than its code does, which is a shared library behind ctypes.
        _pip_install(interpreter, OPA_PINS, "--ignore-requires-python")
        shutil.copy(OPA_PINS, done)
    return interpreter


def node_modules() -> Path:
    """Return the folder that npm's packages lie in, filled if need be; raises UnavailableError."""
    if not all(_is_same(pins, NODE / pins.name) for pins in NODE_PINS) or not (NODE / "installed").exists():
        npm = program("npm")
        shutil.rmtree(NODE, ignore_errors=True)
        NODE.mkdir(parents=True)
        for pins in NODE_PINS:
            shutil.copy(pins, NODE / pins.name)
        _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], NODE)
        (NODE / "installed").touch()
    return NODE / "node_modules"


def cerbos() -> Path:
    """Return Cerbos' program; raises UnavailableError."""
    path = node_modules() / "@cerbos" / "cerbos-linux-x64" / "cerbos-linux-x64"
    if not path.exists():
        raise UnavailableError("its npm package holds no program for this system")
    return path


def program(name: str) -> str:
    """Return the path of a program that this machine has; raises UnavailableError."""
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"there is no `{name}` on the PATH")
    return found


def _pip_install(interpreter: Path, pins: Path, *flags: str) -> None:
    """Install just what ``pins`` name: their hashes are checked, and nothing is resolved."""
    always = ("--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:")
    _run([str(interpreter), "-m", "pip", "install", *always, *flags, "-r", str(pins)])


def _is_same(pins: Path, installed: Path) -> bool:
    return installed.exists() and filecmp.cmp(pins, installed, shallow=False)


def _run(command: Sequence[str], folder: Path = ROOT) -> None:
    told = f"`{Path(command[0]).name} {' '.join(command[1:4])}`"
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        said = " ".join((error.stderr or error.stdout).split())
        raise UnavailableError(f"{told} failed: {said[-TOLD_MAX:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{told} failed: {error}") from error
