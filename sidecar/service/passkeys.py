"""Passkeys: registered, shown and deleted; and the challenges that wait for a new one.

A challenge is kept for five minutes and used once, beside the answers of idempotency keys, which end in the same way;
so every worker process knows it, and nothing is left of one that nobody came back to.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.access import Caller
from sidecar.core.audit import Body, encode_hash
from sidecar.core.ceremonies import (
    RegistrationResponse,
    answered_challenge,
    creation_options,
    user_handle,
    verify_registration,
)
from sidecar.core.directory import Identity, block_on, walk
from sidecar.core.errors import Conflict, Forbidden, NotFound
from sidecar.core.facts import passkey_fact
from sidecar.core.grants import url_safe
from sidecar.core.idempotency import IdempotencyKey, Replay
from sidecar.core.passkeys import CHALLENGE_BYTES, CHALLENGE_LIFE_US, PASSKEYS_MAX, Passkey
from sidecar.core.relying_party import RelyingParty
from sidecar.service.access import part_of, tenant_of
from sidecar.service.events import tell_passkey
from sidecar.service.idempotency import Done, once
from sidecar.service.paging import Page, PageRequest, page_of
from sidecar.service.store import Store, TenantTransaction, Transaction

NAME_DEFAULT: Final = "passkey"
"""What a passkey is called that was given no name."""


class PasskeyDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey that a browser made with the options of an identity."""

    identity_id: str
    name: str = NAME_DEFAULT
    credential: RegistrationResponse


class ShownPasskey(msgspec.Struct, frozen=True):
    """A passkey and its tenant's id."""

    tenant_id: str
    passkey: Passkey


class PasskeyDesk:
    """Keeps the passkeys of every tenant."""

    def __init__(
        self,
        store: Store,
        party: RelyingParty,
        new_id: Callable[[str, int], str],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Work on ``store``; passkeys are for ``party``."""
        self._store = store
        self._party = party
        self._new_id = new_id
        self._random_bytes = random_bytes

    async def options(
        self, caller: Caller, tenant_id: str | None, identity_id: str, key: IdempotencyKey | None, now_us: int
    ) -> Done[dict[str, object]]:
        """Return what a browser makes a passkey of an identity with, and keep the challenge in it for five minutes.

        Raises NotFound for an unknown identity, Conflict for one that is revoked or has as many as it may,
        IdempotencyConflict.
        """
        caller.require_administrator()
        challenge = self._random_bytes(CHALLENGE_BYTES)

        def make(part: TenantTransaction) -> dict[str, object]:
            identity, present = _require_place(part, identity_id)
            part.answers.keep_replay(_waiting(identity_id, challenge, now_us + CHALLENGE_LIFE_US))
            handle = user_handle(part.tenant.tenant_id, identity_id)
            return creation_options(self._party, handle, identity.name, challenge, present)

        def work(txn: Transaction) -> Done[dict[str, object]]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, dict[str, object], lambda: make(part))

        return await self._store.write(work, apart=True)

    async def register(
        self, caller: Caller, tenant_id: str | None, draft: PasskeyDraft, key: IdempotencyKey | None, now_us: int
    ) -> Done[ShownPasskey]:
        """Keep the passkey that a browser made with the options of its identity.

        Raises Forbidden where the answer does not hold or its challenge is unknown, used or too old, NotFound for an
        unknown identity, Conflict for one that is revoked or has as many as it may, and for a credential in use.
        """
        caller.require_administrator()

        def work(txn: Transaction) -> Done[ShownPasskey]:
            part = part_of(txn, caller, tenant_id, now_us)
            return once(part, key, now_us, ShownPasskey, lambda: self._make(txn, part, draft, caller.name, now_us))

        return await self._store.write(work, apart=True)

    def _make(
        self, txn: Transaction, part: TenantTransaction, draft: PasskeyDraft, by: str, now_us: int
    ) -> ShownPasskey:
        identity_id = draft.identity_id
        _require_place(part, identity_id)
        challenge = answered_challenge(draft.credential)
        if part.answers.replay(_scope(identity_id, challenge), now_us) is None:
            message = "the passkey's answer is to no challenge that waits, ask for new options"
            raise Forbidden(message, field="credential")
        registered = verify_registration(self._party, challenge, draft.credential)
        external_id = url_safe(registered.credential_id)
        if part.passkeys.by_external_id(external_id) is not None:
            raise Conflict("the credential is registered already", field="credential")
        part.answers.keep_replay(_waiting(identity_id, challenge, now_us))  # it has been used: its time is over
        passkey = Passkey(
            passkey_id=self._new_id("pk", now_us),
            identity_id=identity_id,
            name=draft.name,
            credential_id=registered.credential_id,
            public_key=registered.public_key,
            sign_count=registered.sign_count,
            is_backed_up=registered.is_backed_up,
            created_at_us=now_us,
            revision=txn.tenants.advance(part.tenant.number),
        )
        part.passkeys.add(passkey.passkey_id, passkey, passkey.revision, owner=identity_id, external_id=external_id)
        body = {
            "passkey": passkey.passkey_id,
            "identity": identity_id,
            "revision": passkey.revision,
            "passkeys": [passkey_version(part, passkey)],
            "by": by,
        }
        part.audit.append("passkey_created", now_us, body)
        tell_passkey(part, "passkey.created", passkey, by, now_us)
        return ShownPasskey(part.tenant.tenant_id, passkey)

    def get(self, caller: Caller, tenant_id: str | None, passkey_id: str) -> ShownPasskey:
        """Return a passkey. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            return ShownPasskey(part.tenant.tenant_id, _known(part, passkey_id))

    def listed(
        self, caller: Caller, tenant_id: str | None, identity_id: str | None, request: PageRequest
    ) -> Page[ShownPasskey]:
        """Return a page of the passkeys, of one identity or of all, in order of creation. Raises NotFound."""
        caller.require_administrator()
        with self._store.read() as txn:
            part = txn.of(tenant_of(txn, caller, tenant_id))
            if identity_id is None:
                found = part.passkeys.all(after=request.after)
            else:
                walk(identity_id, part.identities.get)
                found = part.passkeys.owned(identity_id, after=request.after)
            page = page_of(found, request)
        return Page(tuple(ShownPasskey(part.tenant.tenant_id, each) for each in page.values), page.next_after)

    async def delete(self, caller: Caller, tenant_id: str | None, passkey_id: str, now_us: int) -> None:
        """Delete a passkey: it signs nothing more, and what it has signed stays. Raises NotFound."""
        caller.require_administrator()

        def work(txn: Transaction) -> None:
            part = part_of(txn, caller, tenant_id, now_us)
            passkey = _known(part, passkey_id)
            part.passkeys.remove(passkey_id, txn.tenants.advance(part.tenant.number))
            body: Body = {"passkey": passkey_id, "identity": passkey.identity_id, "by": caller.name}
            part.audit.append("passkey_deleted", now_us, body)
            tell_passkey(part, "passkey.deleted", passkey, caller.name, now_us)

        await self._store.write(work)


def passkeys_of(part: TenantTransaction, identity_id: str) -> tuple[Passkey, ...]:
    """Return the passkeys of an identity in order of creation."""
    return tuple(listed.value for listed in part.passkeys.owned(identity_id))


def passkey_version(part: TenantTransaction, passkey: Passkey) -> list[object]:
    """Return how a record names a version of a passkey, and keep its fact."""
    return [passkey.passkey_id, passkey.revision, encode_hash(part.audit.keep_fact(passkey_fact(passkey)))]


def _require_place(part: TenantTransaction, identity_id: str) -> tuple[Identity, tuple[bytes, ...]]:
    """Return an identity that may have another passkey, and the credentials that it has."""
    chain = walk(identity_id, part.identities.get)
    block = block_on(chain)
    if block is not None and block.status == "revoked":
        raise Conflict(f"identity `{block.identity.identity_id}` is revoked, it gets no passkey")
    present = tuple(passkey.credential_id for passkey in passkeys_of(part, identity_id))
    if len(present) >= PASSKEYS_MAX:
        raise Conflict(f"identity `{identity_id}` has as many passkeys as it may: {PASSKEYS_MAX}")
    return chain[0], present


def _known(part: TenantTransaction, passkey_id: str) -> Passkey:
    passkey = part.passkeys.get(passkey_id)
    if passkey is None:
        raise NotFound(f"unknown passkey `{passkey_id}`", field="passkey_id")
    return passkey


def _waiting(identity_id: str, challenge: bytes, expires_at_us: int) -> Replay:
    return Replay(scope=_scope(identity_id, challenge), fingerprint=b"", expires_at_us=expires_at_us)


def _scope(identity_id: str, challenge: bytes) -> str:
    """Return what a challenge is kept under; no key of a caller is, whose scope begins with a token's id."""
    return f"passkeys\n{identity_id}\n{url_safe(challenge)}"
