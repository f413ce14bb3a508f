"""The command line: every command of ``sidecar``, and how an error leaves it.

Exit codes: 0 good, 1 the checked thing is bad, 2 wrong usage or configuration, 75 the store must not be used any more.
"""

import sys
from importlib.metadata import version
from typing import Final

import click

from sidecar.cli.audit import audit
from sidecar.cli.audit_export import audit_export
from sidecar.cli.audit_replay import audit_replay
from sidecar.cli.check import check
from sidecar.cli.diff import diff
from sidecar.cli.fmt import fmt
from sidecar.cli.mcp_proxy import mcp_proxy
from sidecar.cli.replay import replay
from sidecar.cli.serve import serve
from sidecar.cli.simulate import simulate
from sidecar.cli.test import test
from sidecar.core.errors import ConfigurationInvalid, SidecarError, StoreUnusable

EXIT_BAD: Final = 1
EXIT_USAGE: Final = 2
EXIT_STORE: Final = 75


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("agent-authorization-sidecar"), "--version", prog_name="sidecar")
def sidecar() -> None:
    """Decide, reserve and record what AI agents may do and spend."""


sidecar.add_command(serve)
sidecar.add_command(audit)
sidecar.add_command(diff)
sidecar.add_command(check)
sidecar.add_command(fmt)
sidecar.add_command(test)
sidecar.add_command(replay)
sidecar.add_command(simulate)
sidecar.add_command(mcp_proxy)
audit.add_command(audit_replay)
audit.add_command(audit_export)


def main() -> None:
    """Run the command line and leave with its exit code; an error is one sentence, never a traceback."""
    try:
        code = sidecar.main(prog_name="sidecar", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(EXIT_USAGE)
    except ConfigurationInvalid as error:
        _complain(error)
        sys.exit(EXIT_USAGE)
    except StoreUnusable as error:
        _complain(error)
        sys.exit(EXIT_STORE)
    except SidecarError as error:
        _complain(error)
        sys.exit(EXIT_BAD)
    except OSError as error:
        place = "" if error.filename is None else f"`{error.filename}`: "  # such as an output on a full disk
        click.echo(f"sidecar: {place}{error.strerror or error}", err=True)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: SidecarError) -> None:
    click.echo(f"sidecar: {error.message}", err=True)
