"""A tenant with a wallet and its owner's passkey, for tests of permission grants.

root → owner (a user, whose wallet holds USDC) and root → team → bot, the agent; `shop` is an agent that can be paid.
"""

from typing import Any

import msgspec

from sidecar.core.access import Caller
from sidecar.core.accounts import Account
from sidecar.core.ceremonies import AuthenticationResponse, request_options
from sidecar.core.grants import challenge
from sidecar.core.idempotency import idempotency_key
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.money import Major
from sidecar.core.passkeys import Passkey
from sidecar.core.relying_party import RelyingParty
from sidecar.service.accounts import AccountDraft, open_account
from sidecar.service.grant_drafts import GrantDraft
from sidecar.service.grants import Grants, ShownGrant
from sidecar.service.passkeys import PasskeyDesk, PasskeyDraft
from sidecar.state.transaction import Transaction
from tests.core.authenticator import Authenticator
from tests.service.builders import OPERATOR, CountingBytes, World, codes

PARTY = RelyingParty()
SHOP = ResourceRef("agent", "shop")
ELSEWHERE = ResourceRef("account", "somewhere-else")


class Wallets:
    """The services of grants and passkeys over a world, with a wallet to pay from."""

    def __init__(self, world: World) -> None:
        """Make the identities, the wallet and the passkey in tenant `t_one`, which is there."""
        self.world = world
        random_bytes = CountingBytes()
        self.desk = PasskeyDesk(world.store, PARTY, world.ids, random_bytes)
        self.grants = Grants(
            world.store, world.snapshots, world.treasurer, world.legislator, PARTY, world.ids, random_bytes
        )
        world.identity("owner", type_name="user")
        world.identity("team", type_name="team")
        world.identity("bot", "team")
        world.identity("shop")
        self.wallet = self.account("owner").account_id
        self.phone = Authenticator()
        self.passkey = self.enrol(self.phone)

    def account(self, identity_id: str, asset: str = "USDC") -> Account:
        """Open an account."""
        draft = AccountDraft(identity_id=identity_id, asset=asset)

        def work(txn: Transaction) -> Account:
            tenant = txn.tenants.find("t_one")
            assert tenant is not None
            return open_account(txn, txn.of(tenant), draft, self.world.ids, "operator", self.world.now_us)

        return self.world.write(work)

    def enrol(self, authenticator: Authenticator, identity_id: str = "owner") -> Passkey:
        """Register a passkey."""
        options = self.world.run(self.desk.options(OPERATOR, "t_one", identity_id, None, self.world.now_us)).value
        draft = PasskeyDraft(identity_id=identity_id, name="phone", credential=authenticator.create(options))
        return self.world.run(self.desk.register(OPERATOR, "t_one", draft, None, self.world.now_us)).value.passkey

    def draft(self, **changes: Any) -> GrantDraft:  # noqa: ANN401
        """A grant for `bot`: 5 a payment, 12 a day."""
        draft = GrantDraft(identity_id="bot", account_id=self.wallet, max_per_tx=Major("5"), daily_cap=Major("12"))
        return msgspec.structs.replace(draft, **changes)

    def make(self, key: str | None = None, **changes: Any) -> ShownGrant:  # noqa: ANN401
        """Make a grant that waits."""
        draft = self.draft(**changes)
        stored = None if key is None else idempotency_key("operator", "grants", key, repr(draft).encode())
        return self.world.run(self.grants.create(OPERATOR, "t_one", draft, stored, self.world.now_us)).value

    def signature(
        self,
        shown: ShownGrant,
        authenticator: Authenticator | None = None,
        **changes: Any,  # noqa: ANN401
    ) -> AuthenticationResponse:
        """What the owner's browser answers when it is asked to sign a grant."""
        options = request_options(PARTY, challenge(shown.grant, shown.tenant_id), shown.credential_ids)
        return (authenticator or self.phone).get(options, **changes)

    def approve(
        self, shown: ShownGrant, credential: AuthenticationResponse | None = None, key: str | None = None
    ) -> ShownGrant:
        """Approve a grant, by the owner's signature unless told."""
        signed = self.signature(shown) if credential is None else credential
        stored = None if key is None else idempotency_key("operator", "approve", key, repr(signed).encode())
        call = self.grants.approve(OPERATOR, "t_one", shown.grant.grant_id, signed, stored, self.world.now_us)
        return self.world.run(call).value

    def active(self, **changes: Any) -> ShownGrant:  # noqa: ANN401
        """Make a grant and approve it."""
        return self.approve(self.make(**changes))

    def revoke(self, shown: ShownGrant, key: str | None = None) -> ShownGrant:
        """Revoke a grant."""
        stored = None if key is None else idempotency_key("operator", "revoke", key, b"")
        grant_id = shown.grant.grant_id
        return self.world.run(self.grants.revoke(OPERATOR, "t_one", grant_id, stored, self.world.now_us)).value

    def get(self, shown: ShownGrant, caller: Caller = OPERATOR) -> ShownGrant:
        """Show a grant as it is now."""
        tenant_id = None if caller.token is not None else "t_one"
        return self.grants.get(caller, tenant_id, shown.grant.grant_id, self.world.now_us)

    def request(
        self,
        amount: str = "1.00",
        to: ResourceRef = SHOP,
        *,
        identity_id: str = "bot",
        account_id: str | None = None,
        currency: str = "USDC",
    ) -> AuthorizeRequest:
        """A payment of `bot` from the wallet as a request to decide."""
        return AuthorizeRequest(
            identity_id=identity_id,
            action="payment.create",
            resource=to,
            amount_minor=Major(amount).minor(currency, "amount"),
            currency=currency,
            context={"account_id": account_id or self.wallet},
            ttl_seconds=604_800,
        )

    def pay(self, amount: str = "1.00", to: ResourceRef = SHOP, **changes: str) -> list[str]:
        """Ask for a payment; returns the codes, whose first is `permitted` for one that is."""
        return codes(self.world.decide(self.request(amount, to, **changes)))
