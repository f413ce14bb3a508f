"""Who calls, and what such a caller may reach.

A token belongs to the operator (every tenant), to one tenant, or to one identity and everything below it. What is
outside a token's reach does not exist for it (404); what its kind can never do is refused (403).
"""

from typing import Literal

import msgspec

from sidecar.core.directory import IdentityChain
from sidecar.core.errors import Forbidden, NotFound
from sidecar.core.limits import RESERVATION_TTL_SECONDS_DEFAULT
from sidecar.core.rates import RateLimit

TokenKind = Literal["tenant", "agent", "follower"]
CallerKind = Literal["operator", "tenant", "agent", "follower"]


class Former(msgspec.Struct, frozen=True):
    """The secret that a rotation replaced: its public part, and until when it still opens."""

    key_id: str
    until_us: int


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A stored token: the digest of its secret, never the secret.

    ``key_id`` is the public part, its key in the store; it changes with the secret, ``token_id`` never does. ``former``
    is None where no secret was left a grace time.
    """

    token_id: str
    key_id: str
    digest: bytes
    prefix: str
    tenant: int
    kind: TokenKind
    name: str
    identity_id: str | None
    may_release: bool
    created_at_us: int
    expires_at_us: int | None
    rate_limit: RateLimit | None = None
    rotated_at_us: int | None = None
    former: Former | None = None

    def is_alive(self, now_us: int) -> bool:
        """Whether the token still opens anything."""
        return self.expires_at_us is None or now_us < self.expires_at_us


class Caller(msgspec.Struct, frozen=True):
    """The authenticated caller of one request. ``token`` is None for the operator.

    ``tenant_rate_limit`` is the one that its tenant has of its own.
    """

    kind: CallerKind
    token: Token | None = None
    tenant_rate_limit: RateLimit | None = None

    @property
    def name(self) -> str:
        """What records and idempotency rows call this caller: the id of its token, never the token."""
        return "operator" if self.token is None else self.token.token_id

    @property
    def may_administer(self) -> bool:
        """Whether it may change what a tenant consists of."""
        return self.kind in {"operator", "tenant"}

    @property
    def may_free_budget(self) -> bool:
        """Whether it may release, refund, or settle less than is held (DESIGN rule 6)."""
        return self.may_administer or (self.token is not None and self.token.may_release)

    def require_hold(self, ttl_seconds: int) -> None:
        """Raise Forbidden when a hold of ``ttl_seconds`` would free budget sooner than this caller may.

        A hold that expires is released; whoever may not release could otherwise spend and be given back the limit.
        """
        if ttl_seconds < RESERVATION_TTL_SECONDS_DEFAULT and not self.may_free_budget:
            message = (
                f"this token holds for {RESERVATION_TTL_SECONDS_DEFAULT} s or longer;"
                " a shorter hold needs a tenant key or `may_release`"
            )
            raise Forbidden(message, field="reservation_ttl_seconds")

    def require_administrator(self) -> None:
        """Raise Forbidden for a token that can never do this kind of call."""
        if not self.may_administer:
            raise Forbidden(f"a token of kind `{self.kind}` cannot do this, expected a tenant key or the operator")

    def require_operator(self) -> None:
        """Raise Forbidden for every caller but the operator."""
        if self.kind != "operator":
            raise Forbidden("only the operator can do this")

    @property
    def top(self) -> str | None:
        """The identity that reach is limited to, with everybody below; None for administrators, who reach all."""
        return None if self.token is None else self.token.identity_id

    def reaches(self, chain: IdentityChain) -> bool:
        """Whether the first identity of ``chain`` is within reach: any for administrators, a subtree for the others."""
        top = self.top
        if top is not None:
            for identity in chain:  # asked of every decision: a generator would take longer than the comparisons
                if identity.identity_id == top:
                    return True
        return self.may_administer

    def require_reach(self, chain: IdentityChain) -> None:
        """Raise NotFound when the first identity of ``chain`` is outside the caller's reach."""
        if not self.reaches(chain):
            raise NotFound(f"unknown identity `{chain[0].identity_id}`", field="identity_id")
