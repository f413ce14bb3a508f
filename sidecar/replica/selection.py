"""Which sets of policy files a command is about, given the paths that somebody typed.

A file is never judged alone when it belongs to a set: a path in the folder of the policies stands for that folder, so
that ids are compared with all others and a tenant's file is known as such. Files are named as they were typed. What
lies too deep in a folder to be read by the server is named too, because nobody would notice.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.limits import POLICY_BYTES_PER_TENANT_MAX
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.replica.files import POLICY_SUFFIX, SCHEMA_SUFFIX, folders, read_policies, read_schemas

_POLICIES: Final = "policies"
_SCHEMAS: Final = "schemas"


class Selection(msgspec.Struct, frozen=True):
    """One set of files that hold together, and the policy files beside them that the server would not read."""

    files: PolicyFiles
    unread: tuple[str, ...] = ()


class _Chosen:
    """What paths stand for: folders of policies, each perhaps with a schema of its own, and single files."""

    def __init__(self, policies: Path, schemas: Path) -> None:
        self._policies = policies
        self._schemas = schemas
        self.roots: dict[Path, Path | None] = {}
        self.loose: dict[Path, None] = {}
        self.schema_folders: dict[Path, None] = {}
        self.schema_files: dict[Path, None] = {}

    def add(self, path: Path) -> None:
        """Add what one path stands for."""
        if not path.exists():
            raise ConfigurationInvalid(f"`{path}` does not exist")
        if path.is_dir():
            self._add_folder(path)
        elif path.suffix == POLICY_SUFFIX:
            if _is_same(path.parent, self._policies) or _is_same(path.parent.parent, self._policies):
                self.roots[self._policies] = None
            else:
                self.loose[path] = None
        elif path.suffix == SCHEMA_SUFFIX:
            if _is_same(path.parent, self._schemas):
                self.schema_folders[self._schemas] = None
            else:
                self.schema_files[path] = None
        else:
            raise ConfigurationInvalid(
                f"`{path}` is neither a folder nor a `*{POLICY_SUFFIX}` or `*{SCHEMA_SUFFIX}` file"
            )

    def _add_folder(self, path: Path) -> None:
        if _is_same(path, self._policies) or _is_same(path.parent, self._policies):
            self.roots[self._policies] = None
        elif _holds(path, POLICY_SUFFIX):
            self.roots[path] = None
        elif _holds(path, SCHEMA_SUFFIX):
            self.schema_folders[path] = None
        elif (path / _POLICIES).is_dir():
            own = path / _SCHEMAS
            self.roots[path / _POLICIES] = own if own.is_dir() else None
        else:
            self.roots[path] = None

    @property
    def has_policies(self) -> bool:
        """Whether a path stood for policies."""
        return bool(self.roots or self.loose)

    def schema(self) -> tuple[SourceFile, ...]:
        """Return the schema that was named, otherwise that of the folder of schemas."""
        if not self.schema_folders and not self.schema_files:
            return _named(self._schemas, read_schemas(self._schemas))
        found = (file for folder in self.schema_folders for file in _named(folder, read_schemas(folder)))
        return (*found, *map(_read, self.schema_files))


def select(paths: Sequence[Path], policies: Path, schemas: Path) -> tuple[Selection, ...]:
    """Return the sets that ``paths`` mean; ``policies`` and ``schemas`` are the folders that the server would read.

    Without paths these two are meant. Where paths name a schema only, the policies are judged with it if there are any.
    Raises ConfigurationInvalid naming what does not exist, cannot be read or is none of these files, and a folder that
    holds no policy.
    """
    chosen = _Chosen(policies, schemas)
    for path in paths or (policies,):
        chosen.add(path)
    if not chosen.has_policies and policies.is_dir():
        found = _policies(policies)
        return (Selection(_with(found, chosen.schema()), _unread(policies)),)
    selections = [_selection(root, chosen, own) for root, own in chosen.roots.items()]
    if chosen.loose or not selections:
        files = PolicyFiles(schemas=(), shared=tuple(map(_read, chosen.loose)), by_tenant={})
        selections.append(Selection(_with(files, chosen.schema())))
    return tuple(selections)


def policies_around(paths: Sequence[Path], usual: Path) -> Path:
    """Return the folder of policies that tests in ``paths`` are about: the one that is named, or ``usual``.

    What lies in ``usual`` is about all of it. Elsewhere, a folder beside policies that hold for all tenants is one
    tenant's and stands for both. Raises ConfigurationInvalid for a folder that cannot be read.
    """
    named = [path for path in paths if path.is_dir()]
    if len(named) != 1 or named[0].resolve().is_relative_to(usual.resolve()):
        return usual
    (folder,) = named
    if _holds(folder, POLICY_SUFFIX):
        above = folder.absolute().parent
        return above if _holds(above, POLICY_SUFFIX) and not _holds_tenants(folder) else folder
    inner = policies_in(folder)
    return inner if inner != folder or _holds_tenants(folder) else usual


def policies_in(folder: Path) -> Path:
    """Return the folder of policies that ``folder`` stands for: itself, or as the top of a repository its `policies`.

    Raises ConfigurationInvalid for a folder that cannot be read.
    """
    inner = folder / _POLICIES
    return inner if inner.is_dir() and not _holds(folder, POLICY_SUFFIX) else folder


def _holds_tenants(folder: Path) -> bool:
    return any(_holds(own, POLICY_SUFFIX) for own in folders(folder))


def _selection(root: Path, chosen: _Chosen, own: Path | None) -> Selection:
    found = _policies(root)
    unread = _unread(root)
    if not found.policies and not unread:
        raise ConfigurationInvalid(f"`{root}` holds no `*{POLICY_SUFFIX}` file, expected at least one")
    return Selection(_with(found, chosen.schema() if own is None else _named(own, read_schemas(own))), unread)


def _policies(root: Path) -> PolicyFiles:
    found = read_policies(root)
    by_tenant = {tenant_id: _named(root, files) for tenant_id, files in found.by_tenant.items()}
    return PolicyFiles(schemas=(), shared=_named(root, found.shared), by_tenant=by_tenant)


def _with(files: PolicyFiles, schemas: tuple[SourceFile, ...]) -> PolicyFiles:
    return msgspec.structs.replace(files, schemas=schemas)


def _named(folder: Path, files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """Return files of a folder under the paths by which they can be opened from here."""
    return tuple(SourceFile(str(folder.parent / file.path), file.text) for file in files)


def _read(path: Path) -> SourceFile:
    try:
        text = path.read_bytes()
        if len(text) > POLICY_BYTES_PER_TENANT_MAX:
            raise ConfigurationInvalid(f"`{path}` is over {POLICY_BYTES_PER_TENANT_MAX >> 20} MiB")
        return SourceFile(str(path), text.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"`{path}` is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise ConfigurationInvalid(f"`{path}` cannot be read: {error.strerror}") from error


def _is_same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _holds(folder: Path, suffix: str) -> bool:
    try:
        return any(path.suffix == suffix for path in folder.iterdir())
    except OSError as error:
        raise ConfigurationInvalid(f"`{folder}` cannot be read: {error.strerror}") from error


def _unread(root: Path) -> tuple[str, ...]:
    """Return the policy files below a folder's folders, which nobody reads."""
    return tuple(sorted(str(path) for path in below(root) if root not in {path.parent, path.parent.parent}))


def below(root: Path) -> Iterator[Path]:
    """Yield the policy files at any depth below a folder, without what lies in hidden folders or behind links to some.

    Raises ConfigurationInvalid naming a folder that cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ConfigurationInvalid(f"`{error.filename}` cannot be read: {error.strerror}") from error

    for folder, inner, names in os.walk(root, onerror=refuse):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        found = (Path(folder) / name for name in sorted(names) if name.endswith(POLICY_SUFFIX))
        yield from (path for path in found if path.is_file() or not path.name.startswith("."))  # no editor's marks
