"""Tokens: made, listed, rotated, revoked, and recognised at the start of every request.

A token's id outlives its secrets: a rotation gives it a new one, and the one before opens on for a grace time, in which
a deployment can be moved over. There are at most two. A tenant may delete its last key: the operator makes a new one.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core import token_text
from sidecar.core.access import Caller, Former, Token, TokenKind
from sidecar.core.audit import Body
from sidecar.core.directory import Mode, Tenant, walk
from sidecar.core.errors import Conflict, NotFound, Unauthenticated, Unavailable, ValidationFailed
from sidecar.core.idempotency import IdempotencyKey
from sidecar.core.rates import RateLimit, rate_limit_text
from sidecar.service.access import part_of, require_alive, tenant_of
from sidecar.service.events import tell_token
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Store, TenantTransaction, Transaction
from sidecar.service.token_changes import require_owner, revoke_token

PRUNED_MAX: Final = 256
"""Secrets whose grace time is over that one transaction forgets."""

DRAWS_MAX: Final = 3
"""How often a public part is drawn: one of 50 bits that is taken is rare, a second one in a row is a fault."""

TEXTS_KEPT: Final = 1024
"""Texts of tokens that a process need not take apart again."""

_NOBODY: Final = hashlib.sha256(b"nobody").digest()


class TokenDraft(msgspec.Struct, frozen=True):
    """A token to be made."""

    name: str
    kind: TokenKind
    identity_id: str | None
    may_release: bool
    expires_at_us: int | None
    rate_limit: RateLimit | None = None


class TokenPatch(msgspec.Struct, frozen=True):
    """What to change; what is left out stays, and a limit of None is taken away."""

    name: str | None = None
    rate_limit: RateLimit | msgspec.UnsetType | None = msgspec.UNSET


class Minted(msgspec.Struct, frozen=True):
    """A token with its new text, which is shown this once and kept nowhere: empty in a stored answer."""

    tenant_id: str
    token: Token
    text: str


def without_text(minted: Minted) -> Minted:
    """Return what may be stored of a new token."""
    return msgspec.structs.replace(minted, text="")


class TokenDesk:
    """Makes and recognises tokens."""

    def __init__(
        self,
        store: Store,
        new_id: Callable[[str, int], str],
        randomness: Callable[[int], bytes],
        operator_token: str,
    ) -> None:
        """Work on ``store``; of ``operator_token`` only a digest is kept."""
        self._store = store
        self._new_id = new_id
        self._randomness = randomness
        self._operator = hashlib.sha256(operator_token.encode()).digest()
        self._opened: dict[bytes, tuple[str, bytes]] = {}

    def authenticate(self, text: str, now_us: int) -> Caller:
        """Return the caller behind a token. Raises Unauthenticated, always with the same sentence and the same work.

        The store is asked each time, so what was revoked or rotated is refused by every process at once. How a text
        that opened something reads is kept, under a digest of it: neither text nor secret stays in memory.
        """
        whole = hashlib.sha256(text.encode()).digest()
        opened = self._opened.get(whole)
        if opened is None and hmac.compare_digest(whole, self._operator):
            return Caller("operator")
        key_id, presented = opened or _read(text)
        token = tenant = None
        if key_id:
            with self._store.read() as txn:
                token = txn.tokens.find(key_id)
                tenant = None if token is None else txn.tenants.get(token.tenant)
        known = hmac.compare_digest(presented, _NOBODY[::-1] if token is None else token.digest)
        if token is None or not known or not token.is_alive(now_us):
            raise Unauthenticated("the token is missing, unknown or expired")
        if opened is None:
            if len(self._opened) == TEXTS_KEPT:
                self._opened.clear()
            self._opened[whole] = key_id, presented
        return Caller(token.kind, token, None if tenant is None else tenant.rate_limit)

    async def create(
        self, caller: Caller, tenant_id: str | None, draft: TokenDraft, now_us: int, key: IdempotencyKey | None = None
    ) -> Done[Minted]:
        """Make a token.

        Raises NotFound for an unknown identity, Forbidden for a caller that may not, IdempotencyConflict.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Minted]:
            require_alive(txn, caller, now_us)
            tenant = tenant_of(txn, caller, tenant_id)

            def make() -> Minted:
                return self.mint(txn, tenant, draft, caller.name, now_us)

            return once(txn.of(tenant), key, now_us, Minted, make, kept=without_text)

        return await self._store.write(work)

    def mint(self, txn: Transaction, tenant: Tenant, draft: TokenDraft, made_by: str, now_us: int) -> Minted:
        """Make a token inside a transaction."""
        part = txn.of(tenant)
        if draft.identity_id is not None:
            require_owner(part, draft.identity_id)
        if draft.kind == "agent" and draft.identity_id is None:
            raise ValidationFailed("an agent token belongs to an identity", field="identity_id")
        if draft.kind == "tenant" and draft.identity_id is not None:
            raise ValidationFailed("a tenant key belongs to no identity", field="identity_id")
        if draft.expires_at_us is not None and draft.expires_at_us <= now_us:
            raise ValidationFailed("the token would have expired already", field="expires_at")
        parts = self._draw(txn, draft.kind, tenant.mode)
        token = Token(
            token_id=self._new_id("tok", now_us),
            key_id=parts.key_id,
            digest=parts.digest(),
            prefix=parts.shown,
            tenant=tenant.number,
            kind=draft.kind,
            name=draft.name,
            identity_id=draft.identity_id,
            may_release=draft.may_release,
            created_at_us=now_us,
            expires_at_us=draft.expires_at_us,
            rate_limit=draft.rate_limit,
        )
        revision = txn.tenants.advance(tenant.number)
        txn.tokens.put(token)
        part.tokens.add(token.token_id, token, revision, owner=token.identity_id)
        made: Body = {"token": token.token_id, "kind": token.kind, "by": made_by}
        if token.rate_limit is not None:
            made["rate_limit"] = token.rate_limit.text
        part.audit.append("token_created", now_us, made)
        tell_token(part, "token.created", token, made_by, now_us)
        return Minted(tenant.tenant_id, token, parts.text())

    def _draw(self, txn: Transaction, kind: TokenKind, mode: Mode) -> token_text.TokenText:
        """Return a new text whose public part no other token has."""
        for _ in range(DRAWS_MAX):
            parts = token_text.mint(kind, mode, self._randomness(token_text.KEY_BYTES + token_text.SECRET_BYTES))
            if txn.tokens.find(parts.key_id) is None:
                return parts
        raise Unavailable("no public part of a token was free, nothing was changed")

    async def rotate(
        self,
        caller: Caller,
        tenant_id: str | None,
        token_id: str,
        grace_seconds: int,
        now_us: int,
        key: IdempotencyKey | None = None,
    ) -> Done[Minted]:
        """Give a token a new secret; its last one opens for ``grace_seconds`` more, and any before it never again.

        Raises NotFound, Conflict for a token that ran out, Forbidden for a caller that may not, IdempotencyConflict.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[Minted]:
            part = part_of(txn, caller, tenant_id, now_us)

            def turn() -> Minted:
                return self._turn(txn, part, caller, _known(part, token_id), grace_seconds, now_us)

            return once(part, key, now_us, Minted, turn, kept=without_text)

        return await self._store.write(work)

    def _turn(
        self, txn: Transaction, part: TenantTransaction, caller: Caller, old: Token, grace_seconds: int, now_us: int
    ) -> Minted:
        if not old.is_alive(now_us):
            raise Conflict(f"token `{old.token_id}` has expired, make a new one")
        tenant = part.tenant
        parts = self._draw(txn, old.kind, tenant.mode)
        new = msgspec.structs.replace(
            old,
            key_id=parts.key_id,
            digest=parts.digest(),
            prefix=parts.shown,
            rotated_at_us=now_us,
            former=Former(old.key_id, now_us + grace_seconds * 1_000_000) if grace_seconds else None,
        )
        txn.tokens.replace(old, new)
        part.tokens.change(new.token_id, new, txn.tenants.advance(tenant.number))
        body: Body = {"token": new.token_id, "grace_seconds": grace_seconds, "by": caller.name}
        part.audit.append("token_rotated", now_us, body)
        return Minted(tenant.tenant_id, new, parts.text())

    def listed(
        self, caller: Caller, tenant_id: str | None, identity_id: str | None, request: PageRequest
    ) -> tuple[str, Page[Token]]:
        """Return the tenant's id and a page of its tokens, without their texts, in order of creation."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if identity_id is None:
                return part.tenant.tenant_id, page_of(part.tokens.all(after=request.after), request)
            walk(identity_id, part.identities.get)
            return part.tenant.tenant_id, page_of(part.tokens.owned(identity_id, after=request.after), request)

    async def change(
        self, caller: Caller, tenant_id: str | None, token_id: str, patch: TokenPatch, now_us: int
    ) -> tuple[str, Token]:
        """Change a token for the next request of every process; returns the tenant's id and it. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> tuple[str, Token]:
            require_alive(txn, caller, now_us)
            tenant = tenant_of(txn, caller, tenant_id)
            part = txn.of(tenant)
            token = _known(part, token_id)
            changed = msgspec.structs.replace(
                token,
                name=token.name if patch.name is None else patch.name,
                rate_limit=token.rate_limit if patch.rate_limit is msgspec.UNSET else patch.rate_limit,
            )
            if changed != token:
                txn.tokens.put(changed)
                part.tokens.change(token_id, changed, txn.tenants.advance(tenant.number))
                told: Body = {"token": token_id, "renamed": changed.name != token.name, "by": caller.name}
                told["rate_limit"] = rate_limit_text(changed.rate_limit)
                part.audit.append("token_updated", now_us, told)
            return tenant.tenant_id, changed

        return await self._store.write(work)

    async def revoke(
        self, caller: Caller, tenant_id: str | None, token_id: str, now_us: int, *, of_identity: str | None = None
    ) -> Token:
        """Delete a token and return it: the next request with it is refused by every process.

        Raises NotFound, also where it is not a token ``of_identity``.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Token:
            part = part_of(txn, caller, tenant_id, now_us)
            token = _known(part, token_id)
            if of_identity not in {None, token.identity_id}:
                raise NotFound(f"unknown token `{token_id}`", field="token_id")
            revoke_token(txn, part, token, caller.name, now_us)
            return token

        return await self._store.write(work)

    async def prune_former_secrets(self, now_us: int) -> int:
        """Forget secrets whose grace time is over, which open nothing any more; returns how many."""
        return await self._store.write(lambda txn: txn.prune_former_secrets(now_us, PRUNED_MAX))


def _read(text: str) -> tuple[str, bytes]:
    """Return the public part of a token's text and the digest of its secret; for any other text, what nobody has."""
    parts = token_text.read(text)
    return ("", _NOBODY) if parts is None else (parts.key_id, parts.digest())


def _known(part: TenantTransaction, token_id: str) -> Token:
    token = part.tokens.get(token_id)
    if token is None:
        raise NotFound(f"unknown token `{token_id}`", field="token_id")
    return token
