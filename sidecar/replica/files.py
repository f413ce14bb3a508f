"""Policy and schema files from a folder that was reviewed in git.

``policies/*.cedar`` hold for every tenant, ``policies/<tenant id>/*.cedar`` for one; ``schemas/*.cedarschema`` are one
schema. Files are read in the order of their names. Parsing and validating them is the core's.
"""

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
        paths = sorted(path for path in folder.iterdir() if path.suffix == suffix and path.is_file())
        for path in paths:
            text = path.read_bytes()
            total += len(text)
            if total > POLICY_BYTES_PER_TENANT_MAX:
                raise ConfigurationInvalid(f"the files in `{folder}` are over {POLICY_BYTES_PER_TENANT_MAX >> 20} MiB")
            yield SourceFile(str(Path(base.name) / path.relative_to(base)), text.decode())
    except UnicodeDecodeError as error:
        raise ConfigurationInvalid(f"a file in `{folder}` is not UTF-8 at byte {error.start}") from error
    except OSError as error:
        raise ConfigurationInvalid(f"`{error.filename}` cannot be read: {error.strerror}") from error


def folders(policies: Path) -> list[Path]:
    """Return the folders of tenants in a folder of policies; raises ConfigurationInvalid when it cannot be read."""
    try:
        return sorted(path for path in policies.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise ConfigurationInvalid(f"`{policies}` cannot be read: {error.strerror}") from error
