"""Permission grants: who may make and approve them, what they permit, and that nothing else widens them."""

from collections.abc import Callable, Coroutine
from typing import Any, Literal

import msgspec
import pytest

from sidecar.core.ceremonies import user_handle
from sidecar.core.errors import Conflict, Forbidden, IdempotencyConflict, NotFound, Unauthenticated, ValidationFailed
from sidecar.core.model import ResourceRef
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.service.accounts import Bank
from sidecar.service.budget_changes import BudgetDraft, BudgetPatch
from sidecar.service.grants import GrantFilter, ShownGrant, counts, of_identity
from sidecar.service.grants_in_force import grant_in_force
from sidecar.service.identities import IdentityPatch
from sidecar.service.paging import PageRequest
from sidecar.service.policies import TRIES_MAX, Checked
from sidecar.state.records import Collection
from tests.core.authenticator import PRESENT, Authenticator
from tests.service.builders import DAY, HOUR, NOON, OPERATOR, SECOND, World, shipped_files
from tests.service.histories import chronicle, prove
from tests.service.mailroom import Mailroom
from tests.service.wallets import ELSEWHERE, SHOP, Wallets


@pytest.fixture
def wallets(world: World) -> Wallets:
    """A tenant with a wallet."""
    world.found()
    return Wallets(world)


# --- Making -----------------------------------------------------------------------------------------------------------


def test_a_grant_waits_for_the_owner_and_permits_nothing_before(wallets: Wallets) -> None:
    shown = wallets.make(recipients=(SHOP,), expires_at_us=NOON + DAY)
    grant = shown.grant
    assert (shown.status, grant.status, grant.owner_id, grant.asset) == ("pending", "pending", "owner", "USDC")
    assert (grant.max_per_tx, grant.daily_cap, grant.recipients) == (5_000_000, 12_000_000, (SHOP,))
    assert shown.credential_ids == (wallets.phone.credential_id,)
    assert (grant.policy_id, grant.budget_ids) == (None, ())
    assert wallets.pay() == ["not_permitted"]
    assert wallets.get(shown) == shown
    record = next(body for body in wallets.world.bodies() if body["type"] == "grant_created")
    assert {name: record[name] for name in ("grant", "identity", "account", "owner", "status", "by")} == {
        "grant": grant.grant_id,
        "identity": "bot",
        "account": wallets.wallet,
        "owner": "owner",
        "status": "pending",
        "by": "operator",
    }


def test_the_same_key_makes_one_grant(wallets: Wallets) -> None:
    first = wallets.make("k1")
    assert wallets.make("k1") == first
    with pytest.raises(IdempotencyConflict):
        wallets.make("k1", daily_cap=Major("13"))


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"identity_id": "nobody"}, NotFound, "identity_id"),
        ({"account_id": "acct_none"}, NotFound, "account_id"),
        ({"max_per_tx": Major("1.0000001")}, ValidationFailed, "max_per_tx"),
        ({"daily_cap": Major("1.0000001")}, ValidationFailed, "daily_cap"),
        ({"recipients": (SHOP, SHOP)}, ValidationFailed, "recipients"),
        ({"recipients": tuple(ResourceRef("agent", f"a{n}") for n in range(101))}, ValidationFailed, "recipients"),
        ({"recipients": (SHOP, ResourceRef("Agent", "x"))}, ValidationFailed, "recipients[1].type"),
        ({"recipients": (ResourceRef("merchant", "x"),)}, ValidationFailed, "recipients[0].type"),
        ({"recipients": (ResourceRef("agent", "\n"),)}, ValidationFailed, "recipients[0].id"),
        ({"expires_at_us": NOON}, ValidationFailed, "expires_at"),
        ({"expires_at_us": NOON + 1}, ValidationFailed, "expires_at"),
    ],
)
def test_what_no_grant_can_be_made_of(
    wallets: Wallets, changes: dict[str, Any], error: type[NotFound | ValidationFailed], field: str
) -> None:
    before = wallets.world.kinds()
    with pytest.raises(error) as caught:
        wallets.make(**changes)
    assert caught.value.field == field
    assert wallets.world.kinds() == before


def test_a_grant_needs_a_schema_whose_payments_say_what_it_looks_at(wallets: Wallets) -> None:
    schema = shipped_files().schemas[0]

    def load(text: str) -> None:
        wallets.world.load(PolicyFiles(schemas=(SourceFile(schema.path, text),), shared=(), by_tenant={}))

    load(schema.text.replace("account_id?: String", "account_id?: Long"))
    with pytest.raises(ValidationFailed, match="does not declare `account_id` in its context as grants need it"):
        wallets.make()
    load(schema.text.replace('action "payment.create"', 'action "payment.send"'))
    with pytest.raises(ValidationFailed, match=r"the schema knows no action `payment\.create`"):
        wallets.make()


def test_whose_people_are_revoked_gets_no_grant(wallets: Wallets) -> None:
    wallets.world.revoke("team")
    with pytest.raises(Conflict, match="identity `team` is revoked"):
        wallets.make()
    wallets.world.revoke("owner")
    with pytest.raises(Conflict, match="identity `owner` is revoked"):
        wallets.make(identity_id="shop")


# --- Approving --------------------------------------------------------------------------------------------------------


def test_the_owners_signature_brings_a_policy_and_budgets_into_force(wallets: Wallets) -> None:
    world = wallets.world
    shown = wallets.active(recipients=(SHOP,), expires_at_us=NOON + DAY)
    grant = shown.grant
    assert (shown.status, grant.approved_at_us, grant.passkey_id) == ("active", NOON, wallets.passkey.passkey_id)
    assert world.kinds()[-4:] == ["policy_created", "budget_created", "budget_created", "grant_approved"]
    policy = world.legislator.get(OPERATOR, "t_one", grant.policy_id or "").record
    assert (policy.identity_id, policy.name) == ("bot", f"Grant {grant.grant_id}")
    budgets = [world.treasurer.get(OPERATOR, "t_one", each, NOON).budget for each in grant.budget_ids]
    assert [(each.period, each.limit, each.currency, each.actions, each.account_id) for each in budgets] == [
        ("per_transaction", 5_000_000, "USDC", ("payment.create",), wallets.wallet),
        ("rolling_24h", 12_000_000, "USDC", ("payment.create",), wallets.wallet),
    ]
    assert wallets.pay() == ["permitted"]


def test_the_record_of_an_approval_suffices_to_verify_it_again(wallets: Wallets) -> None:
    shown = wallets.make()
    signed = wallets.signature(shown)
    wallets.approve(shown, signed)
    record = next(body for body in wallets.world.bodies() if body["type"] == "grant_approved")
    assert record["passkey"] == wallets.passkey.passkey_id
    with wallets.world.look() as part:
        passkey = part.passkeys.get(wallets.passkey.passkey_id)
    assert passkey is not None
    assert passkey.sign_count == 1
    assert record["passkeys"][0][:2] == [passkey.passkey_id, record["revision"]]  # type: ignore[index]
    assert len(str(record["assertion"])) == len(str(record["challenge"])) == 43


def test_a_second_approval_is_answered_with_the_first(wallets: Wallets) -> None:
    shown = wallets.make()
    signed = wallets.signature(shown)
    active = wallets.approve(shown, signed, "k1")
    before = wallets.world.kinds()
    assert wallets.approve(shown, signed) == wallets.approve(shown) == active
    assert wallets.approve(shown, signed, "k1") == wallets.approve(shown, signed, "k2") == active
    assert wallets.world.kinds() == before


def test_two_approvals_at_once_make_one_policy(wallets: Wallets) -> None:
    shown = wallets.make()
    signed = wallets.signature(shown)

    def call() -> object:
        return wallets.grants.approve(OPERATOR, "t_one", shown.grant.grant_id, signed, None, NOON)

    first, second = wallets.world.together(call(), call())  # type: ignore[arg-type]
    assert first == second
    assert wallets.world.kinds().count("grant_approved") == 1


def test_what_a_grant_says_is_what_is_signed(wallets: Wallets) -> None:
    """A signature of one grant approves no other, alike as they are."""
    one, other = wallets.make(), wallets.make()
    with pytest.raises(Forbidden, match="challenge"):
        wallets.approve(other, wallets.signature(one))


def altered(shown: ShownGrant, **changes: object) -> ShownGrant:
    """A grant that says something else."""
    return msgspec.structs.replace(shown, grant=msgspec.structs.replace(shown.grant, **changes))


FORGERIES: dict[str, Callable[[Wallets, ShownGrant], object]] = {
    "another origin": lambda w, g: w.approve(g, w.signature(g, origin="https://evil.example")),
    "another domain": lambda w, g: w.approve(g, w.signature(g, rp_id="evil.example")),
    "no human": lambda w, g: w.approve(g, w.signature(g, flags=PRESENT)),
    "another user": lambda w, g: w.approve(g, w.signature(g, handle=user_handle("t_one", "bot"))),
    "an unknown passkey": lambda w, g: w.approve(g, w.signature(g, Authenticator(9))),
    "a registration's answer": lambda w, g: w.approve(g, w.signature(g, type="webauthn.create")),
    "another content": lambda w, g: w.approve(g, w.signature(altered(g, max_per_tx=1))),
    "another nonce": lambda w, g: w.approve(g, w.signature(altered(g, nonce=bytes(16)))),
    "another tenant": lambda w, g: w.approve(g, w.signature(msgspec.structs.replace(g, tenant_id="t_two"))),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
def test_a_signature_that_does_not_hold_changes_nothing(
    wallets: Wallets, forge: Callable[[Wallets, ShownGrant], object]
) -> None:
    shown = wallets.make()
    before = wallets.world.kinds()
    with pytest.raises(Forbidden):
        forge(wallets, shown)
    assert wallets.world.kinds() == before
    assert wallets.get(shown) == shown
    assert wallets.pay() == ["not_permitted"]


def test_another_owners_passkey_approves_nothing(wallets: Wallets) -> None:
    tablet = Authenticator(2)
    wallets.enrol(tablet, "bot")
    shown = wallets.make()
    with pytest.raises(Forbidden, match="none of the wallet's owner `owner`"):
        wallets.approve(shown, wallets.signature(shown, tablet))


def test_a_deleted_passkey_approves_nothing(wallets: Wallets) -> None:
    shown = wallets.make()
    wallets.world.run(wallets.desk.delete(OPERATOR, "t_one", wallets.passkey.passkey_id, NOON))
    with pytest.raises(Forbidden, match="none of the wallet's owner"):
        wallets.approve(shown)
    assert wallets.get(shown).credential_ids == ()


def test_a_signature_count_that_goes_back_is_refused(wallets: Wallets) -> None:
    """Two authenticators with one key: somebody copied it."""
    wallets.phone.count = 7
    wallets.revoke(wallets.active())
    wallets.phone.count = 3
    shown = wallets.make()
    with pytest.raises(Forbidden, match="sign count of 4 was not greater than current count of 8"):
        wallets.approve(shown)


def test_a_signature_of_an_authenticator_that_does_not_count_is_of_one_grant(wallets: Wallets) -> None:
    """The challenge alone keeps it from being used again."""
    key = Authenticator(3, counts=False)
    wallets.enrol(key)
    shown = wallets.make()
    signed = wallets.signature(shown, key)
    wallets.revoke(wallets.approve(shown, signed))
    with pytest.raises(Conflict, match="is revoked"):
        wallets.approve(shown, signed)
    with pytest.raises(Forbidden, match="challenge"):
        wallets.approve(wallets.make(), signed)


def test_a_grant_that_has_run_out_or_is_revoked_cannot_be_approved(wallets: Wallets) -> None:
    ended = wallets.revoke(wallets.make())
    with pytest.raises(Conflict, match="is revoked"):
        wallets.approve(ended)
    short = wallets.make(expires_at_us=NOON + SECOND)
    wallets.world.now_us += SECOND
    assert wallets.get(short).status == "expired"
    with pytest.raises(Conflict, match="has run out"):
        wallets.approve(short)


def test_whoever_is_revoked_meanwhile_gets_nothing(wallets: Wallets) -> None:
    shown = wallets.make()
    wallets.world.revoke("bot")
    with pytest.raises(Conflict, match="identity `bot` is revoked"):
        wallets.approve(shown)


def test_a_closed_wallet_takes_part_in_nothing(wallets: Wallets) -> None:
    shown = wallets.make()
    bank = Bank(wallets.world.store, wallets.world.ids)
    wallets.world.run(bank.close(OPERATOR, "t_one", wallets.wallet, None, NOON))
    with pytest.raises(Conflict, match="is closed"):
        wallets.make()
    with pytest.raises(Conflict, match="is closed"):
        wallets.approve(shown)


def test_an_agent_has_one_grant_in_force_for_a_wallet(wallets: Wallets) -> None:
    active, other = wallets.active(), wallets.make(daily_cap=None)
    with pytest.raises(Conflict, match=f"grant `{active.grant.grant_id}` is in force"):
        wallets.approve(other)
    wallets.revoke(active)
    assert wallets.approve(other).status == "active"
    savings = wallets.account("owner").account_id
    assert wallets.active(account_id=savings).status == "active"


def test_a_grant_that_has_run_out_makes_way_for_the_next(wallets: Wallets) -> None:
    old = wallets.active(expires_at_us=NOON + HOUR)
    wallets.world.now_us += HOUR
    assert wallets.pay() == ["forbidden"]
    wallets.active()
    assert wallets.pay() == ["permitted"]
    assert wallets.get(old).status == "revoked"


def test_policies_that_change_meanwhile_are_compiled_with_anew(
    wallets: Wallets, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, shown = wallets.world, wallets.make()
    check = world.legislator.check

    def busy(times: int) -> Callable[..., Checked]:
        """Let the policies change after each of the first checks."""
        left = iter(range(times))

        def checked(*arguments: Any) -> Checked:  # noqa: ANN401 (whatever `check` takes)
            found = check(*arguments)
            late = tuple(each._replace(policies=each.policies - 1) for each in found.revisions)
            return found if next(left, None) is None else msgspec.structs.replace(found, revisions=late)

        return checked

    monkeypatch.setattr(world.legislator, "check", busy(TRIES_MAX))
    with pytest.raises(Conflict, match="change all the time"):
        wallets.approve(shown)
    monkeypatch.setattr(world.legislator, "check", busy(1))
    assert wallets.approve(shown).status == "active"


# --- What it permits --------------------------------------------------------------------------------------------------


def test_a_grant_permits_what_its_owner_signed_and_nothing_else(wallets: Wallets) -> None:
    wallets.active(recipients=(SHOP, ELSEWHERE), expires_at_us=NOON + HOUR)
    assert wallets.pay("5.00") == ["permitted"]
    assert wallets.pay("1.00", ELSEWHERE) == ["permitted"]
    assert wallets.pay("5.01") == ["forbidden"]
    assert wallets.pay("1.00", ResourceRef("account", "third")) == ["forbidden"]
    assert wallets.pay("1.00", currency="CAD") == ["forbidden"]
    assert wallets.pay("1.00", identity_id="shop", to=ELSEWHERE) == ["not_permitted"]
    assert wallets.pay("1.00", account_id=wallets.account("owner").account_id) == ["not_permitted"]
    wallets.world.now_us += HOUR - 1_000
    assert wallets.pay() == ["permitted"]
    wallets.world.now_us += 1_000
    assert wallets.pay() == ["forbidden"]


def test_a_denial_says_what_is_allowed(wallets: Wallets) -> None:
    shown = wallets.active(recipients=(SHOP,))
    wallet, grant = wallets.wallet, shown.grant
    reasons = wallets.world.decide(wallets.request("5.01", ELSEWHERE)).reasons
    assert [(reason.message, reason.advice) for reason in reasons] == [
        (
            f"grant {grant.grant_id} of wallet {wallet} allows at most 5 USDC per payment",
            "pay at most 5 USDC, or ask the wallet's owner for another grant",
        ),
        (
            f"grant {grant.grant_id} of wallet {wallet} allows payments to agent shop only",
            "pay agent shop, or ask the wallet's owner for another grant",
        ),
    ]
    assert {reason.policy_id for reason in reasons} == {grant.policy_id}


def test_the_daily_cap_is_a_budget_of_the_last_24_hours(wallets: Wallets) -> None:
    wallets.active()
    assert [wallets.pay("5.00") for _ in range(3)] == [["permitted"], ["permitted"], ["budget_exceeded"]]
    assert wallets.pay("2.00") == ["permitted"]
    wallets.world.now_us += DAY
    assert wallets.pay("5.00") == ["permitted"]


def test_a_grant_without_limits_has_no_budgets(wallets: Wallets) -> None:
    shown = wallets.active(max_per_tx=None, daily_cap=None)
    assert shown.grant.budget_ids == ()
    assert wallets.pay("1000000.00") == ["permitted"]


def test_no_other_policy_widens_a_grant(wallets: Wallets) -> None:
    wallets.active(recipients=(SHOP,))
    wallets.world.grant(rules=Rules())
    assert wallets.pay("5.00") == ["permitted", "permitted"]
    assert wallets.pay("5.01") == ["forbidden"]
    assert wallets.pay("1.00", ELSEWHERE) == ["forbidden"]
    other = wallets.account("bot").account_id
    assert wallets.pay("1000.00", ELSEWHERE, account_id=other) == ["permitted"]
    assert wallets.pay("1000.00", ELSEWHERE, account_id=other, currency="CAD") == ["permitted"]


def test_a_policy_above_narrows_a_grant(wallets: Wallets) -> None:
    wallets.active()
    wallets.world.cedar('@id("stop") forbid (principal, action == Action::"payment.create", resource);')
    assert wallets.pay() == ["forbidden"]


def test_whoever_is_below_the_agent_shares_its_grant_and_its_cap(wallets: Wallets) -> None:
    wallets.world.identity("helper", "bot")
    wallets.active()
    assert wallets.pay("5.00", identity_id="helper") == ["permitted"]
    assert wallets.pay("5.00") == ["permitted"]
    assert wallets.pay("5.00", identity_id="helper") == ["budget_exceeded"]


def test_a_suspended_agent_pays_nothing(wallets: Wallets) -> None:
    wallets.active()
    patch = IdentityPatch(status="suspended")
    wallets.world.run(wallets.world.registry.change(OPERATOR, "t_one", "team", patch, NOON))
    assert wallets.pay() == ["identity_suspended"]


def test_a_wallet_pays_nothing_while_its_owner_is_suspended_or_revoked(wallets: Wallets) -> None:
    """The owner is not in the agent's chain, so the policy looks at it, and at whoever is above it alone."""
    world = wallets.world
    world.identity("house", type_name="organization")
    world.identity("heir", "house", type_name="user")
    tablet = Authenticator(2)
    wallets.enrol(tablet, "heir")
    inherited = wallets.account("heir").account_id
    shown = wallets.make(account_id=inherited)
    wallets.approve(shown, wallets.signature(shown, tablet))
    wallets.active()

    def turn(identity_id: str, status: Literal["active", "suspended"]) -> None:
        world.run(world.registry.change(OPERATOR, "t_one", identity_id, IdentityPatch(status=status), NOON))

    turn("owner", "suspended")
    assert wallets.pay() == ["forbidden"]
    reason = world.decide(wallets.request()).reasons[0]
    assert reason.message == f"the owner of wallet {wallets.wallet} is not active"
    turn("house", "suspended")
    assert wallets.pay(account_id=inherited) == ["forbidden"]
    turn("owner", "active")
    turn("house", "active")
    assert wallets.pay() == wallets.pay(account_id=inherited) == ["permitted"]
    world.revoke("house")
    assert wallets.pay(account_id=inherited) == ["forbidden"]
    assert prove(chronicle(world)).is_exact


def test_a_wallet_of_somebody_above_the_agent_is_guarded_by_the_chain(wallets: Wallets) -> None:
    tablet = Authenticator(2)
    wallets.enrol(tablet, "team")
    shown = wallets.make(account_id=wallets.account("team").account_id)
    policy_id = wallets.approve(shown, wallets.signature(shown, tablet)).grant.policy_id
    assert "status" not in wallets.world.legislator.get(OPERATOR, "t_one", policy_id or "").record.cedar


def test_a_policy_that_is_deleted_natively_permits_nothing_more(wallets: Wallets) -> None:
    shown = wallets.active()
    world = wallets.world
    world.run(world.legislator.delete(OPERATOR, "t_one", shown.grant.policy_id or "", NOON))
    assert wallets.pay() == ["not_permitted"]
    assert wallets.revoke(shown).status == "revoked"


@pytest.mark.parametrize(
    ("at", "patch"),
    [
        (0, BudgetPatch(Major("5.000001"), None, None, None)),
        (1, BudgetPatch(Major("12.000001"), None, None, None)),
        (1, BudgetPatch(None, None, "notify", None)),
        (1, None),
    ],
    ids=["more a payment", "more a day", "only counted", "deleted"],
)
def test_a_budget_of_a_grant_in_force_is_not_widened(wallets: Wallets, at: int, patch: BudgetPatch | None) -> None:
    treasurer, run = wallets.world.treasurer, wallets.world.run
    shown = wallets.active()
    budget_id = shown.grant.budget_ids[at]
    before = treasurer.get(OPERATOR, "t_one", budget_id, NOON)
    widened = (
        treasurer.delete(OPERATOR, "t_one", budget_id, NOON)
        if patch is None
        else treasurer.change(OPERATOR, "t_one", budget_id, patch, NOON)
    )
    with pytest.raises(Conflict, match=shown.grant.grant_id):
        run(widened)
    assert treasurer.get(OPERATOR, "t_one", budget_id, NOON) == before


def test_a_budget_of_a_grant_in_force_can_be_narrowed(wallets: Wallets) -> None:
    world, shown = wallets.world, wallets.active()
    for limit, allowed in (("1", "1"), ("12", "3")):
        patch = BudgetPatch(Major(limit), "finance says so", "suspend", None)
        world.run(world.treasurer.change(OPERATOR, "t_one", shown.grant.budget_ids[1], patch, NOON))
        assert wallets.pay(allowed) == ["permitted"]


def test_a_budget_beside_a_grant_is_free(wallets: Wallets) -> None:
    world = wallets.world
    wallets.active(expires_at_us=NOON + HOUR)
    draft = BudgetDraft(
        identity_id="bot",
        account_id=wallets.wallet,
        name="own",
        dimension="amount",
        period="daily",
        limit=Major("1"),
        currency="USDC",
    )
    own = world.run(world.treasurer.create(OPERATOR, "t_one", draft, NOON)).value.budget.budget_id
    patch = BudgetPatch(Major("100"), None, "track", None)
    assert world.run(world.treasurer.change(OPERATOR, "t_one", own, patch, NOON)).budget.on_exceeded == "track"
    world.run(world.treasurer.delete(OPERATOR, "t_one", own, NOON))


def test_a_grant_in_force_is_found_without_a_look_at_those_that_ended(
    wallets: Wallets, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallets.revoke(wallets.active())
    wallets.active(expires_at_us=NOON + HOUR)
    wallets.world.now_us = NOON + HOUR
    shown = wallets.active()
    with wallets.world.store.read() as txn:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        part = txn.of(tenant)
        monkeypatch.delattr(Collection, "owned")
        assert grant_in_force(part, "bot", wallets.wallet, NOON + HOUR) == shown.grant
        assert grant_in_force(part, "team", wallets.wallet, NOON + HOUR) is None


def test_a_grant_that_has_run_out_gives_its_budgets_free(wallets: Wallets) -> None:
    world, shown = wallets.world, wallets.active(expires_at_us=NOON + HOUR)
    world.run(world.treasurer.delete(OPERATOR, "t_one", shown.grant.budget_ids[0], NOON + HOUR))
    assert wallets.revoke(shown).status == "revoked"


# --- Revoking ---------------------------------------------------------------------------------------------------------


def test_after_revocation_nothing_is_permitted_and_what_was_held_is_booked(wallets: Wallets) -> None:
    world, shown = wallets.world, wallets.active()
    held = world.decide(wallets.request("5.00"))
    ended = wallets.revoke(shown, "k1")
    assert (ended.status, ended.grant.revoked_at_us, ended.grant.policy_id) == ("revoked", NOON, None)
    assert wallets.pay() == ["not_permitted"]
    assert world.settle(held.decision_id or "").state == "settled"
    for each in shown.grant.budget_ids:
        with pytest.raises(NotFound):
            world.treasurer.get(OPERATOR, "t_one", each, NOON)
    before = world.kinds()
    assert wallets.revoke(shown) == wallets.revoke(shown, "k1") == ended
    assert world.kinds() == before


def test_a_grant_that_waits_can_be_revoked(wallets: Wallets) -> None:
    shown = wallets.make()
    assert wallets.revoke(shown).status == "revoked"
    assert wallets.world.kinds()[-1] == "grant_revoked"


# --- Who, and lists ---------------------------------------------------------------------------------------------------


def test_only_administrators_make_approve_and_revoke(wallets: Wallets) -> None:
    caller, shown = wallets.world.token("bot"), wallets.make()
    grants, signed, grant_id = wallets.grants, wallets.signature(shown), shown.grant.grant_id
    calls: list[Coroutine[Any, Any, object]] = [
        grants.create(caller, None, wallets.draft(), None, NOON),
        grants.approve(caller, None, grant_id, signed, None, NOON),
        grants.revoke(caller, None, grant_id, None, NOON),
    ]
    for call in calls:
        with pytest.raises(Forbidden, match="expected a tenant key"):
            wallets.world.run(call)


def test_a_token_that_ended_approves_nothing(wallets: Wallets) -> None:
    minted = wallets.world.minted(None)
    caller = wallets.world.desk.authenticate(minted.text, NOON)
    shown = wallets.make()
    wallets.world.run(wallets.world.desk.revoke(OPERATOR, "t_one", minted.token.token_id, NOON))
    with pytest.raises(Unauthenticated):
        wallets.world.run(
            wallets.grants.approve(caller, None, shown.grant.grant_id, wallets.signature(shown), None, NOON)
        )


def test_an_agent_sees_its_own_grants_and_those_below(wallets: Wallets) -> None:
    mine, other = wallets.make(), wallets.make(identity_id="shop")
    team = wallets.world.token("team")
    assert wallets.get(mine, team) == mine
    with pytest.raises(NotFound, match="unknown grant"):
        wallets.get(other, team)
    with pytest.raises(NotFound, match="unknown grant"):
        wallets.grants.get(OPERATOR, "t_one", "grt_none", NOON)
    assert wallets.grants.listed(team, None, GrantFilter(), PageRequest(), NOON).values == (mine,)
    assert wallets.grants.of_agent(team, None, "bot", NOON) == (mine,)
    for account_id, found in ((wallets.wallet, (mine,)), ("acct_none", ())):
        wanted = GrantFilter(account_id=account_id)
        assert wallets.grants.listed(team, None, wanted, PageRequest(), NOON).values == found
    for ask in (
        lambda: wallets.grants.of_agent(team, None, "shop", NOON),
        lambda: wallets.grants.listed(team, None, GrantFilter(identity_id="shop"), PageRequest(), NOON),
        lambda: wallets.grants.listed(OPERATOR, "t_one", GrantFilter(account_id="acct_none"), PageRequest(), NOON),
    ):
        with pytest.raises(NotFound):
            ask()


def test_grants_are_listed_by_agent_wallet_and_what_holds(wallets: Wallets) -> None:
    savings = wallets.account("owner").account_id
    one = wallets.active(expires_at_us=NOON + HOUR)
    two = wallets.make(account_id=savings)
    three = wallets.revoke(wallets.make(identity_id="shop"))

    def found(**wanted: str) -> list[str]:
        page = wallets.grants.listed(OPERATOR, "t_one", GrantFilter(**wanted), PageRequest(), wallets.world.now_us)  # type: ignore[arg-type]
        return [shown.grant.grant_id for shown in page.values]

    ids = [each.grant.grant_id for each in (one, two, three)]
    assert found() == ids
    assert found(identity_id="bot") == ids[:2]
    assert found(account_id=savings) == [ids[1]]
    assert [found(status=status) for status in ("active", "pending", "revoked", "expired")] == [
        [ids[0]],
        [ids[1]],
        [ids[2]],
        [],
    ]
    wallets.world.now_us += HOUR
    assert found(status="expired") == [ids[0]]
    page = wallets.grants.listed(OPERATOR, "t_one", GrantFilter(), PageRequest(limit=1), wallets.world.now_us)
    assert page.next_after is not None


def test_counts_are_of_what_holds(wallets: Wallets) -> None:
    wallets.active(expires_at_us=NOON + HOUR)
    wallets.make()
    wallets.revoke(wallets.make())
    with wallets.world.look() as part:
        assert counts(part, "bot", NOON) == (1, 1)
        assert counts(part, "bot", NOON + HOUR) == (0, 1)
        assert counts(part, "shop", NOON) == (0, 0)
        assert len(of_identity(part, "bot")) == 3


# --- History and events -----------------------------------------------------------------------------------------------


def test_a_history_with_grants_is_proven(wallets: Wallets) -> None:
    shown = wallets.active(recipients=(SHOP,), expires_at_us=NOON + HOUR)
    assert [wallets.pay("5.00"), wallets.pay("5.01"), wallets.pay("5.00"), wallets.pay("5.00")] == [
        ["permitted"],
        ["forbidden"],
        ["permitted"],
        ["budget_exceeded"],
    ]
    wallets.revoke(shown)
    wallets.pay()
    wallets.active()
    wallets.pay()
    assert prove(chronicle(wallets.world)).is_exact


def test_each_change_of_a_grant_is_told_to_those_who_asked(wallets: Wallets) -> None:
    mail = Mailroom(wallets.world)
    webhook = mail.hook("grant.created", "grant.approved", "grant.revoked")
    shown = wallets.active()
    wallets.revoke(shown)
    told = mail.told(webhook)
    assert [event_type for event_type, _ in told] == ["grant.created", "grant.approved", "grant.revoked"]
    assert told[0][1] == {
        "tenant_id": "t_one",
        "grant_id": shown.grant.grant_id,
        "identity_id": "bot",
        "account_id": wallets.wallet,
        "owner_id": "owner",
        "asset": "USDC",
        "max_per_tx": 5,
        "daily_cap": 12,
        "status": "pending",
        "by": "operator",
    }
