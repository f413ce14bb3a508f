"""``sidecar diff``: how two policy sets differ in meaning, each read from a folder or from a git revision.

Reads, compares and leaves the telling to ``sidecar.cli.diff_report``. Nothing is written but the report.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from sidecar.cli.diff_flips import Requests, Tried, try_out
from sidecar.cli.diff_report import RENDERERS, Compared, Side
from sidecar.cli.histories import Source
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.policy import compile_schema
from sidecar.core.policy_difference import compare, read_policies
from sidecar.core.schema import SchemaModel
from sidecar.core.schema_difference import compare_schemas
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica import files
from sidecar.replica.revisions import find_revision, read_revision
from sidecar.replica.selection import policies_in

Read = TypeVar("Read")

EXIT_DIFFERENT: Final = 1

_REVISION_AND_PATH: Final = re.compile(r"((?:[^:{]|\{[^}]*\})+):(.+)", re.DOTALL)
"""``main:path/to/policies``; a colon inside braces belongs to the revision, as in ``HEAD^{/fix: typo}``."""

_SCHEMAS: Final = "schemas"
"""The folder of the schema where none is named: at a revision that of the top, for a folder of policies the one beside
it."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The words of the command line; None where a folder of schemas was not named."""

    old: str
    new: str
    policies: str
    schemas: str | None
    old_schemas: str | None
    new_schemas: str | None
    tests: Path | None
    data_dir: Path | None
    export: Path | None
    tenant_id: str | None
    shape: str
    output: Path | None


@click.command()
@click.argument("old")
@click.argument("new")
@click.option(
    "--policies",
    default="policies",
    show_default=True,
    metavar="PATH",
    help="Folder of the policies at a git revision, from the top of the repository, or from here with `./`.",
)
@click.option(
    "--schemas",
    metavar="PATH",
    help="Folder of the schema: at a git revision from the top of the repository [default: schemas], for a folder of "
    "policies from here [default: the folder `schemas` beside it, where there is one].",
)
@click.option("--old-schemas", metavar="PATH", help="Folder of the schema of OLD, where the two differ.")
@click.option("--new-schemas", metavar="PATH", help="Folder of the schema of NEW, where the two differ.")
@click.option(
    "--tests",
    type=click.Path(path_type=Path, exists=True),
    help="A `*.test.yaml`, or a folder of them: tell which of its requests the two sets decide differently.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of a store: tell which decisions of its history come out differently. `sidecar replay` proves it.",
)
@click.option(
    "--export",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder that `sidecar audit export` wrote, instead of --data-dir.",
)
@click.option("--tenant", "tenant_id", help="The history of this tenant only.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "markdown"]),
    default="text",
    show_default=True,
    help="How to print: for people, one JSON object, or for a review comment.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="File to write the report to, in place of standard output.",
)
@click.pass_context
def diff(ctx: click.Context, /, **given: Any) -> None:  # noqa: ANN401 - what click read, by the names of `Asked`
    """Compare two policy sets by meaning: comments, spaces and the order of policies say nothing.

    OLD and NEW are folders of policies, or git revisions such as HEAD~1, main, v1.2 or main:path/to/policies. A folder
    wins over a revision of the same name. Revisions are read in memory; nothing is checked out.

    Policies are known by their @id, and per tenant in the folders of tenants. One with another @id that means the same
    is told as renamed. Each change says whether the set `may allow more`, `may allow less` or `both` by it, read off
    the change alone: a forbid that is gone may allow more, a narrower permit less. A condition that fails to evaluate
    denies, whatever is said here.

    \b
    JSON keys, stable once released:
      old, new     name and number of policies
      differs      whether anything does
      may_allow    more, less, both or same
      policies     how many were added, removed, renamed, changed, moved, unchanged
      changes      kind, id, old_id, tenant_id, effect, may_allow, old_source, new_source, and
                   parts: part (tenant, effect, scope, conditions, annotation, file), name, old, new, lines
      schema       compared, and changes: part (action, entity_type), name, aspect, kind, old, new, may_allow
      flips        tests and history, each null or: requests, same, deny_to_allow, allow_to_deny, missing, and
                   flips: place, name, identity_id, action, resource, amount, currency, old, new, each of the
                   last two with verdict (allow, deny, undecided) and because

    With --tests, --data-dir or --export, both sets decide the same requests, each counting what it permits itself.

    Exit code 0 when nothing differs, 1 when something does or flips, 2 for bad input.
    """  # noqa: D301 - click keeps the lines of a paragraph that begins with this character
    asked = Asked(**given)
    if asked.data_dir is not None and asked.export is not None:
        raise click.UsageError("--data-dir and --export exclude each other")
    if asked.tenant_id is not None and asked.data_dir is None and asked.export is None:
        raise click.UsageError("--tenant chooses from a history, expected --data-dir or --export")
    before = _read(asked.old, asked.policies, asked.old_schemas or asked.schemas)
    after = _read(asked.new, asked.policies, asked.new_schemas or asked.schemas)
    old, new = (asked.old, before), (asked.new, after)
    compared = _compared(old, new, try_out(_requests(asked), old, new))
    RENDERERS[asked.shape](compared, asked.output)
    ctx.exit(EXIT_DIFFERENT if compared.differs else 0)


def _requests(asked: Asked) -> Requests:
    folder = asked.data_dir or asked.export
    history = None if folder is None else Source(folder, asked.export)
    policies = tuple(policies_in(path) for path in map(Path, (asked.new, asked.old, asked.policies)) if path.is_dir())
    return Requests(asked.tests, policies, history, asked.tenant_id)


def _read(name: str, policies: str, schemas: str | None) -> PolicyFiles:
    """Return the files of a set, without a schema where none is named and none lies beside a folder of policies."""
    if not name:  # an unset variable of a script, which as a path is the folder where it runs
        raise ConfigurationInvalid("OLD and NEW are folders or git revisions, got an empty name")
    folder = Path(name).absolute()  # `.` has a name then
    if folder.is_dir():
        folder = policies_in(folder)
        beside = folder.parent / _SCHEMAS
        if schemas is None and not beside.is_dir():
            return files.read_policies(folder)
        return files.read_files(folder, beside if schemas is None else Path(schemas))
    match = _REVISION_AND_PATH.fullmatch(name)
    revision, path = (match[1], match[2]) if match else (name, policies)
    return read_revision(find_revision(revision, Path.cwd()), path, schemas or _SCHEMAS)


def _compared(old: tuple[str, PolicyFiles], new: tuple[str, PolicyFiles], tried: Tried) -> Compared:
    before, after = _held(old, read_policies), _held(new, read_policies)
    schemas = None
    if old[1].schemas and new[1].schemas:
        schemas = compare_schemas(_held(old, _model), _held(new, _model))
    return Compared(Side(old[0], len(before)), Side(new[0], len(after)), compare(before, after), schemas, tried)


def _model(found: PolicyFiles) -> SchemaModel:
    return compile_schema(tuple((file.path, file.text) for file in found.schemas)).model


def _held(named: tuple[str, PolicyFiles], read: Callable[[PolicyFiles], Read]) -> Read:
    """Return what is read out of a set; one that does not parse is bad input, named with the place of its fault."""
    name, found = named
    try:
        return read(found)
    except ValidationFailed as error:
        raise ConfigurationInvalid(f"the set `{name}` cannot be compared: {error.message}") from error
