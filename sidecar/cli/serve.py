"""``sidecar serve``: check everything, then serve until told to stop."""

import os
import signal
import socket
import stat
from pathlib import Path
from typing import Final

import click

from sidecar.cli.configuration import load_defaults
from sidecar.cli.envoy_grpc import PlaceType, check_grpc, hold_port
from sidecar.cli.following import AddressType, FollowerTokenType, StalenessType, check_following
from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.rates import RateLimit, parse_rate_limit
from sidecar.core.relying_party import check_party, parse_origins
from sidecar.settings import WORKERS_MAX, Settings

BACKLOG: Final = 2048
MEBIBYTE: Final = 1 << 20
DEFAULTS: Final = Settings()
FOLDER: Final = click.Path(path_type=Path, file_okay=False)


class RateLimitType(click.ParamType[RateLimit]):
    """A rate limit as click reads it."""

    name = "limit"

    def convert(self, value: str | RateLimit, param: click.Parameter | None, ctx: click.Context | None) -> RateLimit:
        """Return the limit that ``value`` writes."""
        try:
            return value if isinstance(value, RateLimit) else parse_rate_limit(value, "rate_limit")
        except ValidationFailed as error:
            self.fail(error.message, param, ctx)


class OriginsType(click.ParamType[tuple[str, ...]]):
    """A list of origins as click reads it."""

    name = "origins"

    def convert(
        self, value: str | tuple[str, ...], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Return the origins that ``value`` lists."""
        try:
            return value if isinstance(value, tuple) else parse_origins(value, "webauthn_origins")
        except ValidationFailed as error:
            self.fail(error.message, param, ctx)


@click.command(context_settings={"auto_envvar_prefix": "SIDECAR", "show_default": True})
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    envvar="SIDECAR_CONFIG",
    is_eager=True,
    callback=load_defaults,
    expose_value=False,
    help="Settings file [default: sidecar.toml where there is one].",
)
@click.option("--host", default=DEFAULTS.host, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULTS.port, help="Port to listen on, 0 for any free one."
)
@click.option(
    "--uds", type=click.Path(path_type=Path), default=None, help="Unix domain socket in place of host and port."
)
@click.option("--data-dir", type=FOLDER, default=DEFAULTS.data_dir, help="Folder of the store, made if missing.")
@click.option("--policies", type=FOLDER, default=DEFAULTS.policies, help="Folder of Cedar policies.")
@click.option("--schemas", type=FOLDER, default=DEFAULTS.schemas, help="Folder of the Cedar schema.")
@click.option(
    "--shadow-policies",
    type=FOLDER,
    default=DEFAULTS.shadow_policies,
    help="Folder of a second set of policies that decides nothing: what it would have decided otherwise is listed by "
    "GET /v1/shadow [default: none].",
)
@click.option("--workers", type=click.IntRange(1, WORKERS_MAX), default=DEFAULTS.workers, help="Worker processes.")
@click.option(
    "--durability",
    type=click.Choice(["power-loss", "process-crash"]),
    default=DEFAULTS.durability,
    help="What an answered decision survives: a power cut, or only the end of the process "
    "(a power cut can then leave the store unreadable: for throw-away disks).",
)
@click.option(
    "--free-mib-min",
    type=click.IntRange(0),
    default=DEFAULTS.free_bytes_min // MEBIBYTE,
    help="Free disk space below which no new permit is given; holds can still be ended.",
)
@click.option(
    "--map-mib",
    type=click.IntRange(1),
    default=DEFAULTS.map_size // MEBIBYTE,
    help="Address space for the store; grows by itself, takes no disk.",
)
@click.option(
    "--rate-limit",
    type=RateLimitType(),
    default=DEFAULTS.rate_limit,
    help="Requests of one tenant, such as 100/second, unless it has a limit of its own [default: no limit].",
)
@click.option(
    "--changes-kept",
    type=click.IntRange(1),
    default=DEFAULTS.changes_kept,
    help="Changes of a tenant that its followers can ask for; one that is further behind takes a snapshot.",
)
@click.option(
    "--gateway",
    type=click.Path(dir_okay=False, path_type=Path),
    default=DEFAULTS.gateway,
    help="File that says what requests proxies and MCP gateways make of theirs, such as gateway.toml [default: none].",
)
@click.option(
    "--public-url",
    type=AddressType("this server"),
    default=DEFAULTS.public_url,
    help="Address that clients reach this server by, such as https://pdp.example.com, where that is a proxy's: the "
    "AuthZEN metadata tell it [default: the one that was asked].",
)
@click.option(
    "--ext-authz-grpc",
    type=PlaceType(),
    default=DEFAULTS.ext_authz_grpc,
    help="Address on which Envoy asks over gRPC, such as 127.0.0.1:9191; needs the extra `grpc` [default: none].",
)
@click.option(
    "--webhooks-allow-private",
    is_flag=True,
    default=DEFAULTS.webhooks_allow_private,
    help="Let webhooks reach plain HTTP and private addresses: for local development only.",
)
@click.option(
    "--webauthn-rp-id",
    default=DEFAULTS.webauthn_rp_id,
    help="Domain that the passkeys of wallets' owners are bound to, for good.",
)
@click.option(
    "--webauthn-origins",
    type=OriginsType(),
    default=",".join(DEFAULTS.webauthn_origins),
    help="Origins of the pages on which owners use their passkeys, with commas between them.",
)
@click.option(
    "--control-plane",
    type=AddressType(),
    default=DEFAULTS.control_plane,
    help="Address of another server whose tenant is followed: this one decides only, by what that one tells it. No "
    "policy files are read here [default: none].",
)
@click.option(
    "--control-plane-token",
    type=FollowerTokenType(),
    default=DEFAULTS.control_plane_token,
    help="Token of kind follower for it; give it as SIDECAR_CONTROL_PLANE_TOKEN, where no list of processes shows it.",
)
@click.option(
    "--max-staleness",
    type=StalenessType(),
    default=DEFAULTS.max_staleness.text,
    help="How old followed data may be, by action or group of actions; what is older denies.",
)
@click.option(
    "--watch/--no-watch",
    default=DEFAULTS.watch,
    help="Load policy and schema files that change, once they pass all checks and tests; SIGHUP and "
    "POST /v1/policies/reload do so in either case.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=DEFAULTS.log_level,
    help="Least severe log line that is written.",
)
@click.pass_context
def serve(ctx: click.Context, /, free_mib_min: int, map_mib: int, **options: object) -> None:
    """Serve the API until SIGTERM; load the policy files anew on SIGHUP.

    Every flag has a SIDECAR_* variable (SIDECAR_DATA_DIR) and a key in sidecar.toml (data_dir); a flag comes before
    a variable, a variable before the file. SIDECAR_ADMIN_TOKEN is the operator's token; unset, a random one is made
    at the first start and kept in <data-dir>/admin.token.
    """
    settings = Settings(
        **options,  # type: ignore[arg-type]  # click made each of its type
        free_bytes_min=free_mib_min * MEBIBYTE,
        map_size=map_mib * MEBIBYTE,
        admin_token=os.environ.get("SIDECAR_ADMIN_TOKEN") or None,
    )
    check_party(settings.relying_party)
    check_following(settings.control_plane, settings.control_plane_token)
    check_grpc(settings)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the files are being loaded anyway
    # Loading a server takes longer than most other commands run, so the command that needs it does.
    from sidecar.app.logs import set_up_logs  # noqa: PLC0415 -- see above
    from sidecar.app.prepare import lock_data_dir, prepare  # noqa: PLC0415 -- see above
    from sidecar.app.supervisor import supervise  # noqa: PLC0415 -- see above
    from sidecar.app.worker import serve as serve_one  # noqa: PLC0415 -- see above

    set_up_logs(settings.log_level)
    listener = _listen(settings)
    held = lock_data_dir(settings.data_dir)  # kept open, and so locked, until this process ends
    settings, shared = hold_port(settings)
    settings = prepare(settings)
    address = _address(settings, listener)

    def ready() -> None:
        further = "" if settings.ext_authz_grpc is None else f"\next_authz over gRPC on {settings.ext_authz_grpc}"
        click.echo(f"ready on {address}{further}")

    run = serve_one if settings.workers == 1 else supervise
    code = run(settings, listener, ready)
    os.close(held)
    if shared is not None:
        shared.close()
    ctx.exit(code)


def _listen(settings: Settings) -> socket.socket:
    try:
        if settings.uds is not None:
            return _listen_unix(settings.uds)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        place = settings.uds or f"{settings.host}:{settings.port}"
        raise ConfigurationInvalid(f"cannot listen on `{place}`: {error.strerror or error}") from error


def _listen_unix(path: Path) -> socket.socket:
    """Listen on a socket file that only this user can connect to; one that nobody listens on any more is replaced."""
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ConfigurationInvalid(f"another process listens on `{path}`")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    listener.listen(BACKLOG)
    return listener


def _address(settings: Settings, listener: socket.socket) -> str:
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listener.getsockname()[1]}"
