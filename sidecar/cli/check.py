"""``sidecar check``: everything that is wrong with policies and schemas, and what is dangerous about them, at once."""

from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import Progress

from sidecar.app.gateway_file import check_gateway
from sidecar.cli.findings import SHAPES, show
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.findings import Finding, Inspection, Source, together
from sidecar.core.inspection import inspect
from sidecar.replica.selection import Selection, select

EXIT_BAD: Final = 1

POLICIES: Final = click.option(
    "--policies",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SIDECAR_POLICIES",
    default=Path("policies"),
    show_default=True,
    help="Folder of Cedar policies: `*.cedar` for every tenant, `<tenant_id>/*.cedar` for one.",
)
SCHEMAS: Final = click.option(
    "--schemas",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SIDECAR_SCHEMAS",
    default=Path("schemas"),
    show_default=True,
    help="Folder of the Cedar schema that policies are held against.",
)


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@POLICIES
@SCHEMAS
@click.option(
    "--gateway",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="SIDECAR_GATEWAY",
    help="Mapping file of proxies and MCP gateways, to be checked as well.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 on warnings too.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(list(SHAPES)),
    default="text",
    show_default=True,
    help="How to print: for people, one JSON object, SARIF 2.1.0, or GitHub workflow commands.",
)
@click.pass_context
def check(
    ctx: click.Context,
    /,
    paths: tuple[Path, ...],
    policies: Path,
    schemas: Path,
    gateway: Path | None,
    shape: str,
    *,
    strict: bool,
) -> None:
    """Parse policies and schemas, validate them strictly, and warn of what is legal but dangerous.

    PATHS are folders or files, `*.cedar` and `*.cedarschema`; without any, the folders of --policies and --schemas. A
    file in one of these stands for the whole folder, since ids must differ in all of it. A schema among PATHS is used
    in place of that of --schemas.

    Exit code 1 when there is an error, 2 when a path cannot be read or holds nothing to check.
    """
    inspection = _inspected(select(paths, policies, schemas))
    if gateway is not None:
        inspection = together((*inspection.findings, *_of_mapping(gateway)), inspection.files + 1)
    show(inspection, shape)
    ctx.exit(EXIT_BAD if inspection.errors or (strict and inspection.warnings) else 0)


def _inspected(selections: tuple[Selection, ...]) -> Inspection:
    findings: list[Finding] = []
    looked_at: set[str] = set()
    terminal = Console(stderr=True)
    total = sum(len(selection.files.policies) for selection in selections)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        task = progress.add_task("checking", total=total)
        for selection in selections:
            found = inspect(selection.files, lambda: progress.advance(task))
            findings += found.findings
            looked_at.update(file.path for file in selection.files.all)
            findings += [_unread(path) for path in selection.unread]
    return together(findings, len(looked_at))


def _unread(path: str) -> Finding:
    return Source(path, "").finding(
        "unread_file",
        (0, 0),
        "the file is never read, it lies too deep",
        "put it into the folder of the policies, or into that of one tenant right below",
    )


def _of_mapping(path: Path) -> tuple[Finding, ...]:
    try:
        check_gateway(path)
    except ConfigurationInvalid as error:
        message = error.message.removeprefix(f"{path}: ")
        return (Source(str(path), "").finding("mapping_invalid", (0, 0), message),)
    return ()
