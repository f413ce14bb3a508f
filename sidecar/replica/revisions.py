"""Policy and schema files as they are at a git revision, read through the ``git`` command and held in memory.

What counts as a policy or a schema, and the limits, are those of folders (``sidecar.replica.files``). Nothing is
written: not a file, not the index, not a reference. Symbolic links are followed within the revision; one that leads out
of it is refused where it could hold policies, because what it leads to has no revision.
"""

import os
import posixpath
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.limits import POLICY_BYTES_PER_TENANT_MAX
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.replica.files import POLICY_SUFFIX, SCHEMA_SUFFIX

_LINK: Final = b"120000"
_OUTSIDE: Final = b"symlink"
_UNFOUND: Final = frozenset({b"dangling", b"loop", b"notdir"})
_QUIET: Final = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
"""Git words its errors in English, takes no lock for what it would like to refresh, and asks nobody for a password."""


class Revision(msgspec.Struct, frozen=True):
    """A commit, tag or tree as git calls it, in the repository that ``folder`` lies in; ``tree`` is all its files."""

    name: str
    folder: Path
    tree: str


class _Found(msgspec.Struct, frozen=True):
    """What lies at a path of a revision; ``kind`` is ``blob`` or ``tree``, ``object`` what git reads it by."""

    object: str
    kind: str
    size: int


class _File(msgspec.Struct, frozen=True):
    """A file below a folder: its folder there, ``""`` for none, its name, and what it holds."""

    folder: str
    name: str
    found: _Found


def find_revision(name: str, folder: Path) -> Revision:
    """Return the revision that git knows as ``name``, such as ``HEAD~1``.

    Raises ConfigurationInvalid when ``folder`` is in no repository, git is missing, or the name is unknown.
    """
    inside = _run(folder, "rev-parse", "--git-dir")
    if inside.returncode:
        raise ConfigurationInvalid(f"`{name}` is no folder, and as a revision it cannot be read: {_complaint(inside)}")
    tree = _run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{tree}}")
    if tree.returncode:
        shallow = _run(folder, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true"
        hint = "; this clone is shallow, so it may have to be fetched first" if shallow else ""
        raise ConfigurationInvalid(f"`{name}` is neither a folder nor a revision that git knows{hint}")
    return Revision(name, folder, tree.stdout.decode().strip())


def read_revision(revision: Revision, policies: str, schemas: str) -> PolicyFiles:
    """Return the files of two folders, whose paths start at the top of the repository, or with ``./`` at ``folder``.

    Raises ConfigurationInvalid naming the folder that the revision does not have, or what cannot be read there.
    """
    by_folder = _read(revision, policies, POLICY_SUFFIX)
    found = PolicyFiles(
        schemas=_read(revision, schemas, SCHEMA_SUFFIX).get("", ()),
        shared=by_folder.pop("", ()),
        by_tenant=by_folder,
    )
    if not found.schemas:
        raise ConfigurationInvalid(
            f"`{schemas}` at `{revision.name}` holds no `*{SCHEMA_SUFFIX}` file, expected at least one"
        )
    return found


def _read(revision: Revision, folder: str, suffix: str) -> dict[str, tuple[SourceFile, ...]]:
    """Return the files in a folder and in those directly below it, by folder in the order of names."""
    path = _path(revision, folder)
    top = _look_up(revision, [path])[0]
    if top is None or top.kind != "tree":
        raise ConfigurationInvalid(f"`{revision.name}` has no folder `{folder}`")
    files = sorted(
        (file for file in _files(revision, path, top.object, suffix) if not file.folder.startswith(".")),
        key=lambda each: (each.folder, each.name),
    )
    _check_sizes(revision, folder, files)
    base = PurePosixPath(path).name or "."
    by_folder: dict[str, list[SourceFile]] = {}
    for file, text in zip(files, _texts(revision, folder, files), strict=True):
        source = SourceFile(posixpath.join(base, file.folder, file.name), text)
        by_folder.setdefault(file.folder, []).append(source)
    return {below: tuple(found) for below, found in by_folder.items()}


def _path(revision: Revision, folder: str) -> str:
    """Return a folder as a path from the top of the repository, which is ``""``."""
    start = ""
    if folder.startswith("."):
        start = _ask(revision, b"", "rev-parse", "--show-prefix").decode().removesuffix("\n")
    path = posixpath.normpath(posixpath.join(start, folder))
    if path.startswith(("../", "/")) or path == "..":
        raise ConfigurationInvalid(f"`{folder}` leads out of the repository, expected a path below its top")
    return "" if path == "." else path


def _files(revision: Revision, path: str, tree: str, suffix: str) -> Iterator[_File]:
    """Yield the files with a suffix in a folder and in those directly below it, also where a link leads to them."""
    links: list[str] = []
    for mode, found, name in _listed(revision, tree):
        folder, _, last = name.rpartition("/")
        if "/" in folder:
            continue
        if mode == _LINK:
            links.append(name)
        elif name.endswith(suffix) and found.kind == "blob":
            yield _File(folder, last, found)
    paths = [posixpath.join(path, name) for name in links]
    for name, target in zip(links, _look_up(revision, paths, suffix), strict=True):
        folder, _, last = name.rpartition("/")
        if target is None:
            continue
        if target.kind == "blob" and name.endswith(suffix):
            yield _File(folder, last, target)
        elif target.kind == "tree" and not folder:
            yield from _linked(revision, (posixpath.join(path, name), name), target.object, suffix)


def _linked(revision: Revision, at: tuple[str, str], tree: str, suffix: str) -> Iterator[_File]:
    """Yield the files of a folder that a link leads to; ``at`` is the link's path and its name."""
    path, name = at
    for file in _files(revision, path, tree, suffix):
        if not file.folder:
            yield _File(name, file.name, file.found)


def _listed(revision: Revision, tree: str) -> Iterator[tuple[bytes, _Found, str]]:
    for line in _ask(revision, b"", "ls-tree", "--full-tree", "-r", "-z", "-l", tree).split(b"\0")[:-1]:
        words, _, name = line.partition(b"\t")
        mode, kind, digest, size = words.split()
        found = _Found(digest.decode(), kind.decode(), int(size) if size.isdigit() else 0)
        yield mode, found, name.decode(errors="surrogateescape")


def _look_up(revision: Revision, paths: Sequence[str], suffix: str = "") -> list[_Found | None]:
    """Return what lies at paths of a revision, None for nothing; links are followed."""
    asked = [path for path in paths if "\n" not in path]  # a line break would end the question
    told = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
    names = _lines([f"{revision.tree}:{path}" for path in asked])
    rest = _ask(revision, names, "cat-file", "--follow-symlinks", told) if asked else b""
    found: dict[str, _Found] = {}
    for path in asked:
        line, _, rest = rest.partition(b"\n")
        words = line.split()
        is_meant = PurePosixPath(path).suffix in {"", suffix} and not PurePosixPath(path).name.startswith(".")
        if words[0] == _OUTSIDE and is_meant:
            raise ConfigurationInvalid(f"the link `{path}` leads out of `{revision.name}`")
        if words[0] in _UNFOUND and suffix and is_meant:
            raise ConfigurationInvalid(f"the link `{path}` leads nowhere in `{revision.name}`")
        if words[0] == _OUTSIDE or words[0] in _UNFOUND:
            rest = rest[int(words[1]) + 1 :]
        elif words[-1] != b"missing":
            found[path] = _Found(words[0].decode(), words[1].decode(), int(words[2]))
    return [found.get(path) for path in paths]


def _check_sizes(revision: Revision, folder: str, files: Sequence[_File]) -> None:
    sizes = Counter[str]()
    for file in files:
        sizes[file.folder] += file.found.size
    for below, size in sizes.items():
        if size > POLICY_BYTES_PER_TENANT_MAX:
            place = f"`{posixpath.join(folder, below)}` at `{revision.name}`"
            raise ConfigurationInvalid(f"the files in {place} are over {POLICY_BYTES_PER_TENANT_MAX >> 20} MiB")


def _texts(revision: Revision, folder: str, files: Sequence[_File]) -> Iterator[str]:
    answer = _ask(revision, _lines([file.found.object for file in files]), "cat-file", "--batch")
    end = 0
    for file in files:
        start = answer.index(b"\n", end) + 1  # behind the line that names what follows
        place = f"`{posixpath.join(folder, file.folder, file.name)}` at `{revision.name}`"
        if answer[end:start].endswith(b" missing\n"):
            raise ConfigurationInvalid(f"{place} is missing from the repository")
        end = start + file.found.size
        try:
            yield answer[start:end].decode()
        except UnicodeDecodeError as error:
            raise ConfigurationInvalid(f"{place} is not UTF-8 at byte {error.start}") from error
        end += 1


def _lines(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode(errors="surrogateescape")


def _ask(revision: Revision, given: bytes, *words: str) -> bytes:
    done = _run(revision.folder, *words, given=given)
    if done.returncode:
        raise ConfigurationInvalid(f"`{revision.name}` cannot be read: {_complaint(done)}")
    return done.stdout


def _run(folder: Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603 - the words are ours, and what people named is behind `--end-of-options`
            ["git", *words],  # noqa: S607 - the git that the caller's shell would run
            cwd=folder,
            env=os.environ | _QUIET,
            input=given,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise ConfigurationInvalid("reading a revision needs the command `git`, which is not installed") from error


def _complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line of what git says, as a clause."""
    line, _, _ = done.stderr.decode(errors="replace").partition("\n")
    return line.removeprefix("fatal: ")
