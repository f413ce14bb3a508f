"""``sidecar audit export``: logs with their facts as a folder that can be carried away."""

import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from sidecar.cli.audit import DATA_DIR
from sidecar.cli.histories import Source
from sidecar.replica.export import write_exports


@click.command("export")
@DATA_DIR
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to be made, with a folder per tenant in it; one that exists is refused.",
)
@click.option("--tenant", "tenant_id", help="This tenant only.")
@click.option(
    "--to-seq", type=click.IntRange(0), help="The last record to be exported; needs --tenant. [default: the newest]"
)
def audit_export(data_dir: Path, output: Path, tenant_id: str | None, to_seq: int | None) -> None:
    """Write audit logs, record by record as they lie, and every fact that they refer to.

    `sidecar audit replay --export` and `sidecar replay --export` read such a folder, and check its hash chain and facts
    before they believe it. A server may be running. Facts hold names and requests in clear: keep it like the store.
    """
    if to_seq is not None and tenant_id is None:
        raise click.UsageError("--to-seq needs --tenant")
    size = None if to_seq is None else to_seq + 1
    terminal = Console(stderr=True)
    with (
        Source(data_dir, None).opened(tenant_id, size) as found,
        Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress,
    ):
        tasks: dict[str, TaskID] = {
            each.tenant_id: progress.add_task(each.tenant_id, total=each.size) for each in found
        }
        written = write_exports(
            list(found),
            output,
            time.time_ns() // 1_000,
            lambda tenant, done: progress.update(tasks[tenant], completed=done),
        )
    for each in written:
        missing = f", {each.facts_missing} facts erased" if each.facts_missing else ""
        click.echo(f"{each.tenant_id}: {each.entries} records, {each.facts} facts{missing}")
