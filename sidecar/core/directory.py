"""Tenants, identities and the identity chain: who acts, for whom, and whether anybody on the way up is blocked.

Invariants: every identity chain ends at the tenant root and is at most ``CHAIN_DEPTH_MAX`` long; ``revoked`` is final.
A revocation or suspension is one mark on one identity, and everybody below is blocked by walking up, so it costs the
same for one descendant as for a million. Reading identities is the caller's: ``walk`` takes a look-up.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from sidecar.core.authzen import Authzen
from sidecar.core.errors import NotFound, StoreUnusable
from sidecar.core.ids import pascal_case
from sidecar.core.limits import CHAIN_DEPTH_MAX
from sidecar.core.model import Json
from sidecar.core.rates import RateLimit
from sidecar.core.windows import Period

Status = Literal["active", "suspended", "revoked"]
Mode = Literal["live", "test"]

SEVERITY: Final[tuple[Status, ...]] = ("revoked", "suspended")
"""Blocking states, the one that is reported first in front."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """One isolated organisation. ``number`` is its fixed-width key in the store, ``log_id`` names its audit log.

    ``external_id`` is what its maker calls it; a live and a test tenant may share one.
    """

    tenant_id: str
    number: int
    name: str
    mode: Mode
    time_zone: str
    root_identity_id: str
    log_id: str
    created_at_us: int
    rate_limit: RateLimit | None = None
    external_id: str | None = None
    authzen: Authzen = Authzen()


class CardDefaults(msgspec.Struct, frozen=True):
    """The limit of a card that is made for an identity without one of its own; ``limit`` is in minor units."""

    limit: int
    currency: str
    period: Period


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """A node of a tenant's hierarchy; ``parent_id`` is None for the root only.

    ``killed_revision`` is the tenant's revision at which the kill switch was last used on it, 0 for never.
    ``updated_at_us`` is None while it is as it was made, ``revoked_at_us`` while it is not revoked. Policies see
    neither ``description`` nor ``card_defaults``.
    """

    identity_id: str
    parent_id: str | None
    type: str
    name: str
    status: Status = "active"
    external_id: str | None = None
    metadata: dict[str, Json] = {}
    max_cards: int | None = None
    created_at_us: int
    revision: int
    killed_revision: int = 0
    description: str | None = None
    card_defaults: CardDefaults | None = None
    updated_at_us: int | None = None
    revoked_at_us: int | None = None


class Block(msgspec.Struct, frozen=True):
    """Why nobody at or below ``identity`` may act."""

    status: Status
    identity: Identity


IdentityChain: TypeAlias = tuple[Identity, ...]
"""From the acting identity to the root, both included."""


def walk(identity_id: str, find: Callable[[str], Identity | None]) -> IdentityChain:
    """Return the identity chain of ``identity_id``, itself first and the root last.

    Raises NotFound when the identity does not exist, StoreUnusable when the stored hierarchy is broken (an ancestor is
    missing, or the chain is longer than any that can be created).
    """
    identity = find(identity_id)
    if identity is None:
        raise NotFound(f"unknown identity `{identity_id}`", field="identity_id")
    chain = [identity]
    while identity.parent_id is not None:
        parent_id = identity.parent_id
        identity = find(parent_id)
        if identity is None or len(chain) == CHAIN_DEPTH_MAX:
            raise StoreUnusable(f"the chain of identity `{identity_id}` breaks at `{parent_id}`")
        chain.append(identity)
    return tuple(chain)


def block_on(chain: IdentityChain) -> Block | None:
    """Return what blocks the first identity of ``chain``: a revocation before a suspension, the nearest of its kind."""
    for status in SEVERITY:
        for identity in chain:
            if identity.status == status:
                return Block(status, identity)
    return None


def funder_of(chain: IdentityChain, type_name: str) -> str:
    """Return who pays for the first identity of ``chain``: the nearest above of that type, the root where none is."""
    above = (identity.identity_id for identity in chain[1:] if identity.type == type_name)
    return next(above, chain[-1].identity_id)


def entity_of(identity: Identity, parent: Identity | None) -> dict[str, object]:
    """Return ``identity`` as an entity of Cedar's JSON format: attributes, tags from its metadata, its parent."""
    attributes: dict[str, str] = {"name": identity.name, "status": identity.status}
    if identity.external_id is not None:
        attributes["external_id"] = identity.external_id
    return {
        "uid": {"type": pascal_case(identity.type), "id": identity.identity_id},
        "attrs": attributes,
        "parents": [] if parent is None else [{"type": pascal_case(parent.type), "id": parent.identity_id}],
        "tags": {key: tag_text(value) for key, value in identity.metadata.items()},
    }


def with_tags(chain: IdentityChain, claimed: Mapping[str, Mapping[str, str]]) -> IdentityChain:
    """Return ``chain`` as it is for one request: tags that are ``claimed`` for its identities replace stored ones."""
    return tuple(
        [
            msgspec.structs.replace(identity, metadata={**identity.metadata, **claimed[identity.identity_id]})
            if identity.identity_id in claimed
            else identity
            for identity in chain
        ]
    )


def tag_text(value: Json) -> str:
    """Return a metadata value as a Cedar tag: texts as they are, everything else as canonical JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value, order="deterministic").decode()


def entities_of(chain: IdentityChain) -> list[dict[str, object]]:
    """Return a whole identity chain as Cedar entities, the acting identity first."""
    parents: list[Identity | None] = [*chain[1:], None]
    return [entity_of(identity, parent) for identity, parent in zip(chain, parents, strict=True)]
