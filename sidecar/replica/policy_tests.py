"""Policy tests from files: which there are in a folder of policies, what is in them, and whether they pass.

A test file is ``*.test.yaml`` or ``*.test.yml`` anywhere below the folder, except in folders whose names begin with a
dot (Kubernetes keeps the versions of a ConfigMap in such). One in the folder of a tenant is about that tenant.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.core.schema import SchemaModel
from sidecar.core.snapshot import CompiledFiles, PolicyFiles, compile_files
from sidecar.replica.policy_test_cases import read_cases
from sidecar.replica.yaml_tree import TEXT_BYTES_MAX
from sidecar.service.policy_tests import Bench, Case

TEST_SUFFIX: Final = ".test.yaml"
TEST_SUFFIXES: Final = (TEST_SUFFIX, ".test.yml")
"""How files of tests end. Some write the second by habit, and a test that is never run looks as if it passed."""

TENANT: Final = "t_test"
"""The tenant of a file that names none and lies in no tenant's folder: no policy of one tenant alone holds for it."""


class PolicyTestFile(msgspec.Struct, frozen=True):
    """A test file; ``shown`` is what messages call it, ``tenant_id`` the tenant it is about unless it names one."""

    path: Path
    shown: str
    tenant_id: str


def find_test_files(folder: Path, shown: str | None = None) -> tuple[PolicyTestFile, ...]:
    """Return the test files below ``folder`` in the order of their paths; ``shown`` is what messages call the folder.

    Raises ConfigurationInvalid for a folder that cannot be read.
    """
    named = Path(folder.name) if shown is None else Path(shown)
    found = []
    for path in sorted(_below(folder)):
        inner = path.relative_to(folder)
        found.append(PolicyTestFile(path, str(named / inner), _tenant(inner)))
    return tuple(found)


def chosen_test_files(path: Path, policies: Sequence[Path]) -> tuple[PolicyTestFile, ...]:
    """Return the test file at ``path``, or those below it, called as ``path`` is.

    One that lies in a folder of ``policies`` is about the tenant in whose folder it is there, however little of that
    ``path`` names. Raises ConfigurationInvalid for a folder that cannot be read.
    """
    found = find_test_files(path, str(path)) if path.is_dir() else (PolicyTestFile(path, str(path), TENANT),)
    return tuple(msgspec.structs.replace(each, tenant_id=_owner(each, policies)) for each in found)


def _owner(file: PolicyTestFile, policies: Sequence[Path]) -> str:
    inner = next((inner for folder in policies if (inner := _inside(file.path, folder)) is not None), None)
    return file.tenant_id if inner is None else _tenant(inner)


def _inside(path: Path, folder: Path) -> Path | None:
    """Return where ``path`` is below ``folder``; a link on the way is a folder like others."""
    for whole in (os.path.abspath, os.path.realpath):
        inner, top = Path(whole(path)), Path(whole(folder))
        if inner.is_relative_to(top):
            return inner.relative_to(top)
    return None


def _tenant(inner: Path) -> str:
    return inner.parts[0] if len(inner.parts) > 1 else TENANT


def _below(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ConfigurationInvalid(f"`{error.filename}` cannot be read: {error.strerror}") from error

    for base, folders, names in os.walk(folder, onerror=refuse):
        inner = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(inner)
        yield from (Path(base) / name for name in names if name.endswith(TEST_SUFFIXES))
        if Path(base) == folder:  # a tenant's folder may be a link, as its policies are read through one
            for link in (folder / name for name in inner if (folder / name).is_symlink()):
                if not folder.resolve().is_relative_to(link.resolve()):
                    yield from _below(link)


def read_test_file(file: PolicyTestFile, schema: SchemaModel) -> tuple[Case, ...]:
    """Return the cases of one file. Raises ConfigurationInvalid, naming the place of the first mistake."""
    try:
        with file.path.open("rb") as opened:
            content = opened.read(TEXT_BYTES_MAX + 1)  # one more than is taken, so that the reader refuses it
        text = content.decode("utf-8-sig", errors="strict") if len(content) <= TEXT_BYTES_MAX else " " * len(content)
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"{file.shown}: not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise ConfigurationInvalid(f"{file.shown}: cannot be read: {error.strerror}") from error
    return tuple(read_cases(text, file.shown, file.tenant_id, schema))


def first_failure(folder: Path, files: PolicyFiles) -> str | None:
    """Return None when all test files below ``folder`` pass against ``files``, or there are none.

    The files must have passed ``sidecar.core.policy_files.check_files``.
    Otherwise one sentence: the first test that fails, or file that is broken, with its place, and how many fail.
    """
    try:
        found = find_test_files(folder)
        compiled = compile_files(files) if found else None
    except SidecarError as error:
        return error.message
    return None if compiled is None else _first_of(found, compiled)


def _first_of(found: Sequence[PolicyTestFile], compiled: CompiledFiles) -> str | None:
    bench = Bench(compiled)
    first, failed, total = None, 0, 0
    for file in found:
        try:
            for case in read_test_file(file, compiled.schema.model):
                total += 1
                result, _ = bench.run(case)
                if not result.passed:
                    failed += 1
                    first = first or f"{result.place}: test `{result.name}` fails, {result.summary}"
        except SidecarError as error:
            failed, total = failed + 1, total + 1
            first = first or error.message
    return None if first is None else " ".join(f"{first} ({failed} of {total} tests fail)".split())
