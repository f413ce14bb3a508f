"""``sidecar audit replay``: whether each recorded decision comes out the same by what held then."""

from pathlib import Path

import click
import orjson

from sidecar.cli.audit import FORMAT
from sidecar.cli.histories import ChainJob, ProofJob, logs_of, proofs_of, run, source_of, source_options
from sidecar.service.proof import Proof

EXIT_BAD = 1
NAMED_MAX = 20
"""Missing facts that the text names of one tenant; the JSON has them all."""


@click.command("replay")
@source_options
@FORMAT
@click.pass_context
def audit_replay(
    ctx: click.Context,
    /,
    *,
    data_dir: Path,
    export: Path | None,
    tenant_id: str | None,
    accept_engine: bool,
    jobs: int | None,
    shape: str,
) -> None:
    """Decide every recorded decision again, by the policies, identities, budgets and time of then.

    Each must come out as it was recorded, down to the figures of every budget, which are folded from the first record
    on; the hash chain is verified on the way. Exit code 1 names the first record that differs. A decision whose facts
    were erased cannot be decided again: it is named and counted apart.
    """
    source = source_of(ctx, data_dir, export)
    logs = logs_of(source, tenant_id)
    proving = [ProofJob(source, log, accept_engine) for log in logs]
    proofs = proofs_of(run([*proving, *(ChainJob(source, log) for log in logs)], jobs))
    for proof in proofs:
        click.echo(_told(proof, shape))
    ctx.exit(0 if all(proof.is_exact for proof in proofs) else EXIT_BAD)


def proof_told(proof: Proof) -> dict[str, object]:
    """Return a proof as JSON shows it."""
    first = proof.difference
    return {
        "tenant_id": proof.tenant_id,
        "exact": proof.is_exact,
        "entries": proof.entries,
        "decisions": proof.decisions,
        "missing_count": proof.missing_count,
        "missing": [{"seq": each.seq, "decision_id": each.decision_id, "what": each.what} for each in proof.missing],
        "first_difference": None
        if first is None
        else {
            "seq": first.seq,
            "decision_id": first.decision_id,
            "field": first.field or None,
            "recorded": first.recorded or None,
            "found": first.found,
        },
    }


def _told(proof: Proof, shape: str) -> str:
    if shape == "json":
        return orjson.dumps(proof_told(proof)).decode()
    if proof.difference is not None:
        return f"{proof.tenant_id}: DIFFERS at {proof.difference.sentence} ({proof.decisions} decided again)"
    lines = [f"{proof.tenant_id}: exact, {proof.decisions} decisions decided again, {proof.entries} records"]
    if proof.missing_count:
        lines[0] += f", {proof.missing_count} lack a fact that was erased"
        lines += [f"  record {each.seq}: {each.what} is missing" for each in proof.missing[:NAMED_MAX]]
        more = proof.missing_count - NAMED_MAX
        lines += [f"  and {more} more"] if more > 0 else []
    return "\n".join(lines)
