"""``sidecar audit``: whether the log and the figures of a data directory hold, without a running server."""

import click


@click.group()
def audit() -> None:
    """Check the audit log and the figures of a data directory."""
