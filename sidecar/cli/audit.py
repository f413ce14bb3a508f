"""``sidecar audit``: whether the log and the figures of a data directory hold, with a running server or without one."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import click
import orjson
from rich.console import Console
from rich.progress import Progress

from sidecar.core.directory import Tenant
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.log_entries import digest_of
from sidecar.core.verification import Anchor, FactRef, Report, verify
from sidecar.service.log_store import LogReader
from sidecar.service.shipment_store import ShippedLog
from sidecar.state.environment import Environment, Txn, open_existing
from sidecar.state.fsck import Checked, check
from sidecar.state.transaction import Transaction

CHUNK: Final = 5_000
"""Records read in one transaction, so that a long check keeps no pages of a running server from being used again."""

EXIT_BAD: Final = 1

DATA_DIR: Final = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SIDECAR_DATA_DIR",
    default=Path("data"),
    show_default=True,
    help="Folder of the store.",
)
FORMAT: Final = click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print: for people, or one JSON object a line.",
)


@click.group()
def audit() -> None:
    """Check the audit log and the figures of a data directory."""


@audit.command("verify")
@DATA_DIR
@FORMAT
@click.option("--tenant", "tenant_id", help="Check this tenant only.")
@click.option(
    "--contains",
    "marks",
    multiple=True,
    metavar="SEQ:HASH",
    help="A record that the log must hold, as an answer's `audit` named it: finds a cut tail. Needs --tenant.",
)
@click.pass_context
def verify_command(
    ctx: click.Context, /, data_dir: Path, shape: str, tenant_id: str | None, marks: tuple[str, ...]
) -> None:
    """Check each tenant's hash chain from the first record to the head, and the facts behind it.

    The logs that followers have shipped are checked as well, each on a line of its own. Reads the stored bytes only.
    Exit code 1 when a chain is broken.
    """
    if marks and tenant_id is None:
        raise click.UsageError("--contains needs --tenant")
    anchors = tuple(_anchor(mark) for mark in marks)
    good = True
    with closing(open_existing(data_dir / "db")) as environment:
        for tenant in _tenants(environment, tenant_id):
            for log in (None, *_shipped(environment, tenant)):
                report = _verify(environment, tenant, log, () if log else anchors)
                good &= report.valid
                click.echo(_told(tenant, log, report, shape))
    ctx.exit(0 if good else EXIT_BAD)


@audit.command("fsck")
@DATA_DIR
@FORMAT
@click.pass_context
def fsck_command(ctx: click.Context, /, data_dir: Path, shape: str) -> None:
    """Recompute what lies in the store: invariants I1 to I4, records, tokens, kept answers, events that wait.

    Exit code 1 when something does not hold; nothing is changed.
    """
    good = True
    with closing(open_existing(data_dir / "db")) as environment:
        for checked in check(environment):
            good &= not checked.faults
            click.echo(_listed(checked, shape))
    ctx.exit(0 if good else EXIT_BAD)


def _tenants(environment: Environment, tenant_id: str | None) -> list[Tenant]:
    with environment.read() as txn:
        tenants = Transaction(txn, environment.tables).tenants
        if tenant_id is None:
            return list(tenants.after(0))
        tenant = tenants.find(tenant_id)
    if tenant is None:
        raise ConfigurationInvalid(f"the store has no tenant `{tenant_id}`")
    return [tenant]


def _shipped(environment: Environment, tenant: Tenant) -> list[ShippedLog]:
    with environment.read() as txn:
        return list(Transaction(txn, environment.tables).of(tenant).shipments.all_logs())


def _verify(environment: Environment, tenant: Tenant, log: ShippedLog | None, anchors: tuple[Anchor, ...]) -> Report:
    reader = _Reader(environment, tenant, log)
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        rows = reader.rows(progress)
        return verify(reader.origin, tenant.tenant_id, rows, lambda: reader.head, reader.fact, anchors)


class _Reader:
    """One log read in chunks, each in a transaction of its own; ``head`` is that of the newest one."""

    def __init__(self, environment: Environment, tenant: Tenant, log: ShippedLog | None) -> None:
        self._environment = environment
        self._tenant = tenant
        self._log = log
        self.origin = ""
        self.head = Anchor(0, b"")
        self._read(0, 0)

    def _read(self, start: int, most: int) -> list[tuple[int, bytes]]:
        with self._environment.read() as txn:
            log = self._opened(txn)
            head = log.head()
            self.origin, self.head = log.origin, Anchor(head.next_index, head.link)
            return list(log.read(start, most))

    def _opened(self, txn: Txn) -> LogReader:
        part = Transaction(txn, self._environment.tables).of(self._tenant)
        return part.audit if self._log is None else part.shipments.reader(self._log)

    def rows(self, progress: Progress) -> Iterator[tuple[int, bytes]]:
        """Yield every record, those included that a running server adds meanwhile."""
        task = progress.add_task(self._tenant.tenant_id, total=self.head.size)
        start, chunk = 0, self._read(0, CHUNK)
        while chunk:
            yield from chunk
            start = chunk[-1][0] + 1
            progress.update(task, completed=start)
            chunk = self._read(start, CHUNK) if len(chunk) == CHUNK else []

    def fact(self, ref: FactRef, seq: int) -> bytes | None:
        """Return the bytes of a fact."""
        with self._environment.read() as txn:
            return self._opened(txn).fact(ref.digest, seq)


def _anchor(mark: str) -> Anchor:
    seq, _, text = mark.partition(":")
    link = digest_of(text)
    if link is None or not (seq.isascii() and seq.isdigit()):
        raise click.UsageError(f"--contains takes SEQ:HASH as in an answer's `audit`, got `{mark}`")
    return Anchor(int(seq) + 1, link)


def _told(tenant: Tenant, log: ShippedLog | None, report: Report, shape: str) -> str:
    fault = report.first_invalid
    name = tenant.tenant_id if log is None else f"{tenant.tenant_id}, follower {log.token_id}, {log.origin}"
    if shape == "json":
        document: dict[str, object] = {
            "tenant_id": tenant.tenant_id,
            "valid": report.valid,
            "entries_checked": report.entries_checked,
        }
        if log is not None:
            document |= {"follower_id": log.token_id, "origin": log.origin}
        if fault is None:
            document["head"] = {"seq": report.head_seq, "hash": report.head_hash}
            document["facts_missing"] = report.facts_missing
        else:
            document["first_invalid"] = {"seq": fault.seq, "reason": fault.reason}
        return orjson.dumps(document).decode()
    if fault is not None:
        return f"{name}: INVALID at seq {fault.seq}: {fault.reason} ({report.entries_checked} checked)"
    missing = f", {report.facts_missing} facts erased" if report.facts_missing else ""
    head = f"{report.head_seq}:{report.head_hash}"
    return f"{name}: valid, {report.entries_checked} records, head {head}{missing}"


def _listed(checked: Checked, shape: str) -> str:
    if shape == "json":
        faults = [fault._asdict() for fault in checked.faults]
        return orjson.dumps({**checked._asdict(), "valid": not faults, "faults": faults}).decode()
    counted = f"{checked.records} records, {checked.reservations} reservations, {checked.windows} windows"
    if not checked.faults:
        return f"{checked.tenant_id}: holds, {counted}"
    lines = [f"{checked.tenant_id}: DOES NOT HOLD, {counted}"]
    return "\n".join([*lines, *(f"  {fault.invariant}: {fault.message}" for fault in checked.faults)])
