"""Policy and schema files from a folder that was reviewed in git.

``policies/*.cedar`` hold for every tenant, ``policies/<tenant id>/*.cedar`` for one; ``schemas/*.cedarschema`` are one
schema. Files are read in the order of their names. Parsing and validating them is the core's.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.limits import POLICY_BYTES_PER_TENANT_MAX
from sidecar.core.snapshot import PolicyFiles, SourceFile

POLICY_SUFFIX: Final = ".cedar"
SCHEMA_SUFFIX: Final = ".cedarschema"


def read_files(policies: Path, schemas: Path) -> PolicyFiles:
    """Return the files of two folders.

    Raises ConfigurationInvalid naming what cannot be read, or that no schema is there.
    """
    return msgspec.structs.replace(read_policies(policies), schemas=read_schemas(schemas))


def read_policies(folder: Path) -> PolicyFiles:
    """Return the policies of a folder without a schema; raises ConfigurationInvalid naming what cannot be read."""
    return PolicyFiles(
        schemas=(),
        shared=tuple(_read(folder, POLICY_SUFFIX)),
        by_tenant={own.name: files for own in folders(folder) if (files := tuple(_read(own, POLICY_SUFFIX, folder)))},
    )


def read_schemas(folder: Path) -> tuple[SourceFile, ...]:
    """Return the schema files of a folder; raises ConfigurationInvalid when one cannot be read or none is there."""
    files = tuple(_read(folder, SCHEMA_SUFFIX))
    if not files:
        raise ConfigurationInvalid(f"`{folder}` holds no `*{SCHEMA_SUFFIX}` file, expected at least one")
    return files


def _read(folder: Path, suffix: str, top: Path | None = None) -> Iterator[SourceFile]:
    base = folder if top is None else top
    total = 0
    try:
        for path in sorted(path for path in folder.iterdir() if path.suffix == suffix and _is_meant(path)):
            content = path.read_bytes()
            total += len(content)
            if total > POLICY_BYTES_PER_TENANT_MAX:
                raise ConfigurationInvalid(f"the files in `{folder}` are over {POLICY_BYTES_PER_TENANT_MAX >> 20} MiB")
            yield SourceFile(_shown(Path(base.name) / path.relative_to(base)), _text(path, content))
    except OSError as error:
        raise ConfigurationInvalid(f"`{error.filename}` cannot be read: {error.strerror}") from error


def _is_meant(path: Path) -> bool:
    """Whether something with the suffix of a file is to be read as one.

    A link that leads nowhere may be a `forbid` that got lost, so it is refused, as is what is neither file nor folder.
    Only editors make hidden ones, to say that they have a file open.
    """
    if path.is_file():
        return True
    if path.is_dir() or path.name.startswith("."):
        return False
    raise ConfigurationInvalid(f"`{path}` is {'a link that leads nowhere' if path.is_symlink() else 'no file'}")


def _shown(path: Path) -> str:
    """Return a path as reasons show it. Raises ConfigurationInvalid for a name that is no text."""
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(path).decode(errors="replace")
        raise ConfigurationInvalid(f"the name of the file `{shown}` is not UTF-8") from error
    return str(path)


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"`{path}` is not UTF-8 at byte {error.start}") from error


def folders(policies: Path) -> list[Path]:
    """Return the folders of tenants in a folder of policies; raises ConfigurationInvalid when it cannot be read."""
    try:
        return sorted(path for path in policies.iterdir() if not path.name.startswith(".") and _is_folder(path))
    except OSError as error:
        raise ConfigurationInvalid(f"`{policies}` cannot be read: {error.strerror}") from error


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder, perhaps behind a link; raises ConfigurationInvalid for a link that leads nowhere."""
    if path.is_symlink() and not path.suffix and not path.exists():
        raise ConfigurationInvalid(f"`{path}` is a link that leads nowhere, expected a folder")
    return path.is_dir()
