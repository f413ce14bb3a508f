"""``sidecar mcp-proxy``: stands between an MCP client and its server, and asks before every call of a tool."""

import asyncio
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sidecar.cli.following import AddressType
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.ids import check_caller_id
from sidecar.core.token_text import read
from sidecar.doors.mcp.protocol import TOKEN_VARIABLE

if TYPE_CHECKING:
    from sidecar.doors.mcp.arbiter import HttpArbiter

EXIT_NOT_STARTED: Final = 126
EXIT_NOT_FOUND: Final = 127
"""As shells have it."""


class CallerId(click.ParamType[str]):
    """The id of an identity, or the name of a server, as click reads it."""

    name = "id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id."""
        try:
            return check_caller_id(value, self.name)
        except ValidationFailed as error:
            self.fail(error.message, param, ctx)


@click.command("mcp-proxy")
@click.option(
    "--url",
    type=AddressType("a sidecar"),
    default="http://127.0.0.1:8181",
    show_default=True,
    help="Address of the sidecar.",
)
@click.option(
    "--uds", type=click.Path(path_type=Path, dir_okay=False), help="Socket file of the sidecar, in place of an address."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"File with the token; without one it is read from {TOKEN_VARIABLE}.",
)
@click.option("--identity", type=CallerId(), help="Whose calls these are, unless the token's own identity's.")
@click.option("--server-name", type=CallerId(), help="What mapping and policies call this server.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def mcp_proxy(
    *,
    url: str,
    uds: Path | None,
    token_file: Path | None,
    identity: str | None,
    server_name: str | None,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND, an MCP server over standard input and output, and ask the sidecar before every tool call.

    Put `--` before COMMAND, so that its options are its own.
    """
    token = _token(token_file)
    # What passes lines on takes a quarter of a second to load: not for other commands, and not for a wrong usage.
    from sidecar.doors.mcp.arbiter import Address, HttpArbiter, Whose  # noqa: PLC0415 -- see above

    address, whose = Address(url, uds), Whose(identity, server_name)
    return asyncio.run(_run(lambda: HttpArbiter(address, token, whose), command))


async def _run(make: "Callable[[], HttpArbiter]", command: tuple[str, ...]) -> int:
    from sidecar.doors.mcp.proxy import run  # noqa: PLC0415 -- as above

    arbiter = make()
    try:
        return await run(command, os.environ, arbiter, _tell, secrets.token_hex(8))
    except OSError as error:
        _tell(f"`{command[0]}` cannot be started: {error.strerror}")
        return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_STARTED
    finally:
        await arbiter.close()


def _token(file: Path | None) -> str:
    """Return the token. Raises ConfigurationInvalid where there is none; what is wrong with it is said without it."""
    text = os.environ.get(TOKEN_VARIABLE, "") if file is None else file.read_text(errors="replace")
    if not text.strip():
        raise ConfigurationInvalid(f"no token: name its file in `--token-file`, or set `{TOKEN_VARIABLE}`")
    if read(text.strip()) is None:
        raise ConfigurationInvalid("the token is not one of a sidecar, which is copied whole")
    return text.strip()


def _tell(message: str) -> None:
    click.echo(f"sidecar mcp-proxy: {message}", err=True)
