"""Every setting of a server, once: name, type, default, meaning.

The command line makes flags, variables and file keys of it.
"""

from pathlib import Path
from typing import Final

import msgspec

from sidecar.core.rates import RateLimit
from sidecar.core.relying_party import RelyingParty
from sidecar.core.staleness import DEFAULT_LIMITS, StalenessLimits
from sidecar.state.environment import MAP_SIZE_DEFAULT, Durability
from sidecar.state.headroom import FREE_BYTES_MIN

WORKERS_MAX: Final = 64


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is started with.

    ``uds`` takes the place of host and port; ``admin_token`` None means a kept random one; ``rate_limit`` is that of
    each tenant that has none of its own.
    ``shadow_policies`` are compared with the live ones and decide nothing.
    ``watch`` loads policy files that change beside the running server.
    ``webauthn_rp_id`` is the domain of passkeys, ``webauthn_origins`` are those of the pages that ask for them.
    ``control_plane`` is the address of the server that is followed, with a token of kind ``follower``, and
    ``max_staleness`` how old its data may be; ``changes_kept`` is how many changes of a tenant followers can ask for.
    ``public_url`` is the address that clients outside of a proxy know, None where that is the one they connect to.
    ``gateway`` is the mapping file of proxies and MCP gateways, ``gateway_text`` what was in it at the start, so that a
    worker that is started again has no other; ``ext_authz_grpc`` is where Envoy asks over gRPC.
    ``webhooks_allow_private`` lets tenants have any HTTP address called, for local development.
    """

    host: str = "127.0.0.1"
    port: int = 8181
    uds: Path | None = None
    data_dir: Path = Path("data")
    policies: Path = Path("policies")
    schemas: Path = Path("schemas")
    shadow_policies: Path | None = None
    workers: int = 1
    durability: Durability = "power-loss"
    free_bytes_min: int = FREE_BYTES_MIN
    map_size: int = MAP_SIZE_DEFAULT
    rate_limit: RateLimit | None = None
    watch: bool = True
    log_level: str = "info"
    admin_token: str | None = None
    webhooks_allow_private: bool = False
    webauthn_rp_id: str = RelyingParty().rp_id
    webauthn_origins: tuple[str, ...] = RelyingParty().origins
    control_plane: str | None = None
    control_plane_token: str | None = None
    max_staleness: StalenessLimits = DEFAULT_LIMITS
    changes_kept: int = 100_000
    gateway: Path | None = None
    gateway_text: str | None = None
    public_url: str | None = None
    ext_authz_grpc: str | None = None

    @property
    def is_follower(self) -> bool:
        """Whether it follows a control plane and decides only."""
        return self.control_plane is not None

    @property
    def store(self) -> Path:
        """The folder of the LMDB environment."""
        return self.data_dir / "db"

    @property
    def policy_folders(self) -> tuple[Path, ...]:
        """The folders in which policies, schemas and their tests lie, and the shadow policies where there are any."""
        return (self.policies, self.schemas, *(() if self.shadow_policies is None else (self.shadow_policies,)))

    @property
    def relying_party(self) -> RelyingParty:
        """Whom passkeys are for."""
        return RelyingParty(self.webauthn_rp_id, self.webauthn_origins)

    @property
    def rate_counts(self) -> Path:
        """The file of the rate limits' counts."""
        return self.data_dir / "rates"
