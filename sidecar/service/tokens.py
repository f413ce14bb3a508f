"""Tokens: made, listed, revoked, and recognised at the start of every request."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core import token_text
from sidecar.core.access import Caller, Token, TokenKind
from sidecar.core.directory import Tenant, walk
from sidecar.core.errors import NotFound, Unauthenticated, ValidationFailed
from sidecar.service.access import require_alive, tenant_of
from sidecar.service.events import tell_token
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Store, Transaction

_NOBODY: Final = hashlib.sha256(b"nobody").digest()


class TokenDraft(msgspec.Struct, frozen=True):
    """A token to be made."""

    name: str
    kind: TokenKind
    identity_id: str | None
    may_release: bool
    expires_at_us: int | None


class Minted(msgspec.Struct, frozen=True):
    """A new token with its text, which is shown this once and kept nowhere."""

    tenant_id: str
    token: Token
    text: str


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

    def authenticate(self, text: str, now_us: int) -> Caller:
        """Return the caller behind a token. Raises Unauthenticated, always with the same sentence and the same work."""
        if hmac.compare_digest(hashlib.sha256(text.encode()).digest(), self._operator):
            return Caller("operator")
        parts = token_text.read(text)
        token = None
        if parts is not None:
            with self._store.read() as txn:
                token = txn.tokens.find(parts.key_id)
        presented = _NOBODY if parts is None else parts.digest()
        known = hmac.compare_digest(presented, _NOBODY[::-1] if token is None else token.digest)
        if token is None or not known or not token.is_alive(now_us):
            raise Unauthenticated("the token is missing, unknown or expired")
        return Caller(token.kind, token)

    async def create(self, caller: Caller, tenant_id: str | None, draft: TokenDraft, now_us: int) -> Minted:
        """Make a token. Raises NotFound for an unknown identity, Forbidden for a caller that may not."""
        caller.require_administrator()

        def work(txn: Transaction) -> Minted:
            require_alive(txn, caller, now_us)
            return self.mint(txn, tenant_of(txn, caller, tenant_id), draft, caller.name, now_us)

        return await self._store.write(work)

    def mint(self, txn: Transaction, tenant: Tenant, draft: TokenDraft, made_by: str, now_us: int) -> Minted:
        """Make a token inside a transaction."""
        part = txn.of(tenant)
        if draft.identity_id is not None and part.identities.get(draft.identity_id) is None:
            raise NotFound(f"unknown identity `{draft.identity_id}`", field="identity_id")
        if draft.kind == "agent" and draft.identity_id is None:
            raise ValidationFailed("an agent token belongs to an identity", field="identity_id")
        if draft.kind == "tenant" and draft.identity_id is not None:
            raise ValidationFailed("a tenant key belongs to no identity", field="identity_id")
        if draft.expires_at_us is not None and draft.expires_at_us <= now_us:
            raise ValidationFailed("the token would have expired already", field="expires_at")
        parts = token_text.mint(
            draft.kind, tenant.mode, self._randomness(token_text.KEY_BYTES + token_text.SECRET_BYTES)
        )
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
        )
        revision = txn.tenants.advance(tenant.number)
        txn.tokens.put(token)
        part.tokens.add(token.token_id, token, revision, owner=token.identity_id)
        part.audit.append("token_created", now_us, {"token": token.token_id, "kind": token.kind, "by": made_by})
        tell_token(part, "token.created", token, made_by, now_us)
        return Minted(tenant.tenant_id, token, parts.text())

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

    async def revoke(self, caller: Caller, tenant_id: str | None, token_id: str, now_us: int) -> None:
        """Delete a token: the next request with it is refused by every process. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            require_alive(txn, caller, now_us)
            tenant = tenant_of(txn, caller, tenant_id)
            part = txn.of(tenant)
            token = part.tokens.get(token_id)
            if token is None:
                raise NotFound(f"unknown token `{token_id}`", field="token_id")
            txn.tokens.delete(token)
            part.tokens.remove(token_id, txn.tenants.advance(tenant.number))
            part.audit.append("token_revoked", now_us, {"token": token_id, "by": caller.name})
            tell_token(part, "token.revoked", token, caller.name, now_us)

        await self._store.write(work)
