"""Payments: a decision with its effect, in one transaction; one that may not be has failed, one that cannot is none."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import orjson
import pytest

from sidecar.core.errors import (
    Conflict,
    IdempotencyConflict,
    NotFound,
    SidecarError,
    Unauthenticated,
    ValidationFailed,
)
from sidecar.core.grants import Grant
from sidecar.core.money import Major
from sidecar.core.snapshot import SourceFile
from sidecar.service.accounts import close_account
from sidecar.service.identities import IdentityPatch
from sidecar.service.identity_changes import change_identity
from sidecar.service.paging import PageRequest
from sidecar.service.payment_lists import PaymentFilter
from sidecar.service.payment_plan import Side
from sidecar.service.payments import TRIES_MAX
from sidecar.service.store import TenantTransaction, Transaction
from tests.service.bank import FAILED, FakeRail, Till, pay_key, paying
from tests.service.builders import HOUR, NOON, OPERATOR, World, codes, limit, only_schemas
from tests.service.mailroom import Mailroom


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    """A tenant with a team of two agents and a shop beside it; the team and Ann have something, Bob has nothing."""
    with World(tmp_path) as world:
        world.tenant()
        world.identity("team", type_name="team")
        for name in ("ann", "bob"):
            world.identity(name, "team")
        world.identity("shop", type_name="service")
        yield Till(world)
        assert world.faults() == []


@pytest.fixture
def ann(till: Till) -> str:
    """Ann's account, with 100 USDC in it."""
    return till.account("ann", "100")


@pytest.fixture
def shop(till: Till) -> str:
    """The shop's account."""
    return till.account("shop")


def test_a_payment_moves_what_it_says_and_its_budgets_count_it(till: Till, ann: str, shop: str) -> None:
    budget = till.world.budget(limit(50, "team", currency="USDC")).budget.budget_id
    done = till.pay(paying(ann, shop, "10.5", metadata={"order": "7"}))
    payment, decision = done.value.payment, done.value.decision
    assert (payment.status, payment.amount_minor, payment.metadata) == ("success", 10_500_000, {"order": "7"})
    assert (payment.identity_id, payment.sender_id, payment.receiver_id) == ("ann", "ann", "shop")
    assert decision is not None
    assert decision.allowed
    assert decision.decision_id == payment.decision_id
    assert (till.balance(ann), till.balance(shop)) == (89_500_000, 10_500_000)
    assert till.world.used(budget) == (10_500_000, 0)
    with till.world.look() as part:
        reservation = part.ledger.reservation(payment.decision_id or "")
        assert reservation is not None
        assert reservation.state == "settled"
    assert till.world.kinds()[-3:] == ["decision", "settle", "payment"]
    assert till.world.bodies()[-1] | {"by": "operator"} == till.world.bodies()[-1]
    assert till.get(payment.payment_id) == done.value


def test_policies_see_which_account_and_network_it_is_paid_from(till: Till, ann: str, shop: str) -> None:
    text = f"""forbid (principal, action == Action::"payment.create", resource is Service)
    when {{
      context has account_id && context.account_id == "{ann}" && context has network && context.network == "internal"
    }};"""
    till.world.cedar(text)
    other = till.account("ann", "5")
    assert till.paid(paying(ann, shop)).status == "failed"
    assert till.paid(paying(other, shop, "5")).status == "success"


def test_a_budget_of_an_account_counts_what_is_paid_from_it_alone(till: Till, ann: str, shop: str) -> None:
    draft = msgspec.structs.replace(limit(15, "ann", currency="USDC"), account_id=ann)
    till.world.budget(draft)
    other = till.account("ann", "50")
    assert [till.paid(paying(ann, shop)).status for _ in range(2)] == ["success", "failed"]
    assert [till.paid(paying(other, shop)).status for _ in range(2)] == ["success", "success"]


def test_under_a_schema_whose_payments_name_no_account_one_with_a_budget_pays_nothing(
    till: Till, ann: str, shop: str
) -> None:
    budget = till.world.budget(msgspec.structs.replace(limit(15, "ann", currency="USDC"), account_id=ann)).budget
    other = till.account("ann", "50")
    files = only_schemas("permit (principal, action, resource);")
    schemas = tuple(
        SourceFile(
            each.path, each.text.replace("account_id?: String,", "", 1) if "payment.create" in each.text else each.text
        )
        for each in files.schemas
    )
    assert schemas != files.schemas
    till.world.load(msgspec.structs.replace(files, schemas=schemas))
    for debug_mode in (False, True):
        with pytest.raises(Conflict) as raised:
            till.pay(paying(ann, shop, "20", debug_mode=debug_mode))
        assert budget.budget_id in raised.value.message
    assert till.paid(paying(other, shop, "20")).status == "success"
    till.world.revoke("ann")
    assert till.paid(paying(ann, shop)).status == "failed"
    assert till.balance(ann) == 100_000_000


def test_a_denial_is_a_payment_that_failed_and_says_why(till: Till, ann: str, shop: str) -> None:
    till.world.budget(limit(5, "team", currency="USDC"))
    done = till.pay(paying(ann, shop))
    payment, decision = done.value.payment, done.value.decision
    assert payment.status == "failed"
    assert decision is not None
    assert codes(decision) == ["budget_exceeded"]
    assert decision.audit is not None
    assert payment.error_details is not None
    assert payment.error_details.startswith("budget_exceeded: ")
    assert (till.balance(ann), till.balance(shop)) == (100_000_000, 0)
    assert till.world.kinds()[-2:] == ["decision", "payment"]
    assert till.get(payment.payment_id) == done.value


def test_who_is_suspended_or_revoked_pays_nothing(till: Till, ann: str, shop: str) -> None:
    till.world.revoke("team")
    payment = till.paid(paying(ann, shop))
    assert payment.status == "failed"
    assert "identity_revoked" in (payment.error_details or "")


def test_nobody_pays_an_agent_that_is_not_active(till: Till, ann: str) -> None:
    bob = till.account("bob")
    till.world.revoke("bob")
    assert till.paid(paying(ann, bob)).status == "failed"


@pytest.mark.parametrize("status", ["suspended", "revoked"])
def test_nobody_pays_an_agent_below_somebody_who_is_not_active(till: Till, ann: str, shop: str, status: str) -> None:
    till.world.identity("other", type_name="team")
    till.world.identity("eve", "other")
    eve = till.account("eve")
    assert till.paid(paying(ann, eve)).status == "success"
    if status == "revoked":
        till.world.revoke("other")
    else:
        change = till.world.registry.change(
            OPERATOR, "t_one", "other", IdentityPatch(status="suspended"), till.world.now_us
        )
        till.world.run(change)
    for draft in (paying(ann, eve), paying(ann, "eve")):
        denied = till.pay(draft).value
        assert denied.payment.status == "failed"
        assert denied.decision is not None
        assert [reason.policy_id for reason in denied.decision.reasons] == ["baseline/active-payee"]
    with pytest.raises(ValidationFailed) as raised:
        till.pay(paying(ann, eve, context={"receiver_status": "active"}))
    assert raised.value.field == "context.receiver_status"
    assert till.paid(paying(ann, shop)).status == "success"
    assert till.balance(eve) == 10_000_000


def test_sides_can_be_identities_with_their_oldest_active_account(till: Till, ann: str, shop: str) -> None:
    empty = till.account("ann")
    till.account("shop", asset="USDT")
    till.account("shop", network="solana")
    payment = till.paid(paying("ann", "shop"))
    assert (payment.from_account_id, payment.to_account_id) == (ann, shop)
    till.withdraw(ann, "90")
    till.world.run(till.bank.close(OPERATOR, "t_one", ann, None, till.world.now_us))
    till.deposit(empty, "10")
    assert till.paid(paying("ann", "shop")).from_account_id == empty


def test_an_account_of_an_ancestor_can_be_paid_from(till: Till, shop: str) -> None:
    team = till.account("team", "20")
    payment = till.paid(paying(team, shop, identity_id="bob"))
    assert (payment.status, payment.identity_id, payment.sender_id) == ("success", "bob", "team")
    by_identity = paying("team", shop, identity_id="bob")
    assert till.paid(by_identity).status == "success"


def grant(till: Till, account_id: str, **changes: object) -> None:
    """Let Bob pay from an account of the shop's."""
    draft = Grant(
        grant_id=till.world.ids("grt", till.world.now_us),
        identity_id="bob",
        account_id=account_id,
        owner_id="shop",
        asset="USDC",
        status="active",
        policy_id=till.world.grant(identity_id="bob"),
        nonce=b"",
        created_at_us=till.world.now_us,
        revision=0,
    )

    def work(txn: Transaction) -> None:
        tenant = txn.tenants.find("t_one")
        assert tenant is not None
        revision = txn.tenants.advance(tenant.number)
        made = msgspec.structs.replace(draft, revision=revision, **changes)
        txn.of(tenant).grants.add(made.grant_id, made, revision, owner="bob", external_id=made.found_by)

    till.world.write(work)


@pytest.mark.parametrize(
    ("changes", "account"),
    [({"status": "pending"}, "own"), ({"status": "revoked"}, "own"), ({"expires_at_us": 1}, "own"), ({}, "other")],
    ids=["pending", "revoked", "run out", "of another account"],
)
def test_a_grant_that_does_not_hold_opens_no_account(tmp_path: Path, changes: dict[str, object], account: str) -> None:
    with World(tmp_path) as world:
        world.tenant()
        world.identity("bob")
        world.identity("shop", type_name="service")
        till = Till(world)
        wallet, other, own = till.account("shop", "20"), till.account("shop", "20"), till.account("bob")
        grant(till, wallet if account == "own" else other, **changes)
        for source in (wallet, "shop"):
            with pytest.raises(NotFound):
                till.pay(paying(source, own, identity_id="bob"))


def test_a_grant_that_holds_opens_the_account_it_names(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        world.identity("bob")
        world.identity("shop", type_name="service")
        till = Till(world)
        wallet, own = till.account("shop", "20"), till.account("bob")
        grant(till, wallet, expires_at_us=world.now_us + HOUR)
        payment = till.paid(paying(wallet, own, identity_id="bob"), world.token("bob"))
        assert (payment.status, payment.sender_id, payment.receiver_id) == ("failed", "shop", "bob")  # to oneself
        world.identity("cat")
        cat = till.account("cat")
        assert till.paid(paying(wallet, cat, identity_id="bob"), world.token("bob")).status == "success"


def test_a_grant_whose_policy_was_deleted_opens_nothing_whatever_else_permits_payments(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        world.identity("bob")
        world.identity("shop", type_name="service")
        world.identity("cat")
        till = Till(world)
        wallet, cat, policy_id = till.account("shop", "20"), till.account("cat"), world.grant(identity_id="bob")
        grant(till, wallet, policy_id=policy_id)
        assert till.paid(paying(wallet, cat, identity_id="bob"), world.token("bob")).status == "success"
        world.run(world.legislator.delete(OPERATOR, "t_one", policy_id, world.now_us))
        with pytest.raises(NotFound):
            till.pay(paying(wallet, cat, identity_id="bob"))


WRONG: dict[str, tuple[dict[str, object], type[SidecarError], str | None]] = {
    "nothing": ({"amount": Major("0")}, ValidationFailed, "amount"),
    "below zero": ({"amount": Major("-1")}, ValidationFailed, "amount"),
    "finer than its asset": ({"amount": Major("0.0000001")}, ValidationFailed, "amount"),
    "an unknown asset": ({"currency": "XXZ"}, ValidationFailed, "amount"),
    "another asset": ({"currency": "USDT"}, ValidationFailed, "currency"),
    "another network": ({"network": "solana"}, ValidationFailed, "network"),
    "over the balance": ({"amount": Major("100.000001")}, Conflict, "amount"),
    "from nobody": ({"source": Side()}, ValidationFailed, "from_account_id"),
    "from two": ({"source": Side(account_id="acct_1", identity_id="ann")}, ValidationFailed, "from_account_id"),
    "to nobody": ({"target": Side()}, ValidationFailed, "to_account_id"),
    "from an unknown account": ({"source": Side(account_id="acct_nobody")}, NotFound, "from_account_id"),
    "to an unknown account": ({"target": Side(account_id="acct_nobody")}, NotFound, "to_account_id"),
    "from an unknown identity": ({"source": Side(identity_id="id_nobody")}, NotFound, "identity_id"),
    "to an unknown identity": ({"target": Side(identity_id="id_nobody")}, NotFound, "receiver_id"),
    "by an unknown identity": ({"identity_id": "id_nobody"}, NotFound, "identity_id"),
    "by another identity": ({"identity_id": "bob"}, NotFound, "from_account_id"),
    "to one without such an account": ({"target": Side(identity_id="bob")}, NotFound, "receiver_id"),
    "saying which account": ({"context": {"account_id": "acct_1"}}, ValidationFailed, "context.account_id"),
    "saying which network": ({"context": {"network": "solana"}}, ValidationFailed, "context.network"),
    "with an odd context": ({"context": {"odd": 1}}, ValidationFailed, "context.odd"),
}


@pytest.mark.parametrize("debug_mode", [False, True], ids=["meant", "debug"])
@pytest.mark.parametrize(("changes", "error", "field"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_a_payment_changes_nothing(
    till: Till,
    ann: str,
    shop: str,
    *,
    changes: dict[str, object],
    error: type[SidecarError],
    field: str,
    debug_mode: bool,
) -> None:
    before = till.world.kinds()
    with pytest.raises(error) as raised:
        till.pay(msgspec.structs.replace(paying(ann, shop, debug_mode=debug_mode), **changes))
    assert raised.value.field == field
    assert till.world.kinds() == before
    assert (till.balance(ann), till.balance(shop), till.listed()) == (100_000_000, 0, [])


def test_an_account_is_not_paid_into_itself_nor_when_it_is_closed(till: Till, ann: str, shop: str) -> None:
    with pytest.raises(ValidationFailed, match="another account"):
        till.pay(paying(ann, ann))
    till.world.run(till.bank.close(OPERATOR, "t_one", shop, None, till.world.now_us))
    with pytest.raises(Conflict, match="is closed"):
        till.pay(paying(ann, shop))


def test_the_network_of_a_named_target_is_that_of_the_payment(till: Till, ann: str) -> None:
    solana = till.account("ann", "7", network="solana")
    target = till.account("shop", network="solana")
    assert till.paid(paying("ann", target, "7")).from_account_id == solana
    with pytest.raises(ValidationFailed, match="in network"):
        till.pay(paying(ann, target))


# --- Repetitions ------------------------------------------------------------------------------------------------------


def test_a_repeated_key_returns_the_payment_and_moves_nothing(till: Till, ann: str, shop: str) -> None:
    draft = paying(ann, shop)
    first = till.pay(draft, key=pay_key(draft))
    assert till.pay(draft, key=pay_key(draft)) == (first.value, True)
    assert till.balance(shop) == 10_000_000
    other = paying(ann, shop, "11")
    with pytest.raises(IdempotencyConflict):
        till.pay(other, key=pay_key(other))


def test_a_request_id_names_a_payment_for_good(till: Till, ann: str, shop: str) -> None:
    draft = paying(ann, shop, request_id="order 7")
    first = till.pay(draft)
    till.world.now_us += 1000 * HOUR
    again = paying(ann, shop, "10.00", request_id="order 7")
    assert till.pay(again, key=pay_key(again, "k2")) == (first.value, True)
    with pytest.raises(IdempotencyConflict) as raised:
        till.pay(paying(ann, shop, "11", request_id="order 7"))
    assert raised.value.field == "request_id"
    assert till.paid(paying(ann, shop, request_id="order 8")).payment_id != first.value.payment.payment_id
    assert till.balance(shop) == 20_000_000


def test_a_request_id_opens_no_payment_out_of_reach(till: Till, ann: str, shop: str) -> None:
    draft = paying(ann, shop, request_id="order 7")
    payment_id = till.paid(draft).payment_id
    for each in (draft, paying(ann, shop, "11", request_id="order 7")):
        with pytest.raises(NotFound) as raised:
            till.pay(each, caller=till.world.token("bob"))
        assert payment_id not in raised.value.message  # nor whether the content is that of the other payment


def test_a_request_id_is_that_of_who_pays(till: Till, ann: str, shop: str) -> None:
    """Each agent counts its own requests: nobody uses up the ids of others."""
    first = till.paid(paying(ann, shop, request_id="1"))
    back = till.paid(paying(shop, ann, request_id="1"))
    assert back.payment_id != first.payment_id
    assert till.paid(paying(ann, shop, request_id="1")).payment_id == first.payment_id
    assert till.paid(paying(shop, ann, request_id="1")).payment_id == back.payment_id


def test_the_same_payment_sent_at_once_twice_is_made_once(till: Till, ann: str, shop: str) -> None:
    draft = paying(ann, shop, request_id="order 7")
    calls = [till.paymaster.pay(OPERATOR, "t_one", draft, pay_key(draft), till.world.now_us) for _ in range(2)]
    answers = till.world.together(*calls)
    assert [answer[1] for answer in answers if isinstance(answer, tuple)] == [False, True]
    assert till.balance(shop) == 10_000_000


def test_of_payments_sent_at_once_those_that_fit_the_balance_are_made(till: Till, ann: str, shop: str) -> None:
    calls = [till.paymaster.pay(OPERATOR, "t_one", paying(ann, shop, "30"), None, till.world.now_us) for _ in range(5)]
    answers = till.world.together(*calls)
    assert [isinstance(answer, Conflict) for answer in answers] == [False, False, False, True, True]
    assert till.balance(ann) == 10_000_000


# --- Debug mode -------------------------------------------------------------------------------------------------------


def test_debug_mode_shows_what_would_happen_and_moves_nothing(till: Till, ann: str, shop: str) -> None:
    budget = till.world.budget(limit(15, "ann", currency="USDC")).budget.budget_id
    done = till.pay(paying(ann, shop, debug_mode=True))
    assert (done.value.payment.status, done.value.payment.debug_mode) == ("success", True)
    assert done.value.decision is not None
    assert (done.value.decision.allowed, done.value.decision.decision_id) == (True, None)
    denied = till.pay(paying(ann, shop, "20", debug_mode=True)).value
    assert (denied.payment.status, denied.decision and denied.decision.allowed) == ("failed", False)
    assert (till.balance(ann), till.balance(shop), till.world.used(budget)) == (100_000_000, 0, (0, 0))
    assert till.world.kinds()[-2:] == ["payment", "payment"]
    assert till.get(done.value.payment.payment_id) == done.value


# --- Reach ------------------------------------------------------------------------------------------------------------


def test_an_agent_pays_for_itself_and_sees_its_own_payments(till: Till, ann: str, shop: str) -> None:
    token, other = till.world.token("ann"), till.world.token("bob")
    payment = till.paid(paying(ann, shop), token)
    assert payment.status == "success"
    assert till.get(payment.payment_id, token).payment == payment
    assert till.get(payment.payment_id, till.world.token("team")).payment == payment
    assert till.get(payment.payment_id, till.world.token("shop")).payment == payment
    for call in (lambda: till.get(payment.payment_id, other), lambda: till.pay(paying(ann, shop), caller=other)):
        with pytest.raises(NotFound):
            call()


def test_who_is_paid_is_not_shown_the_policies_and_budgets_of_who_pays(till: Till, ann: str, shop: str) -> None:
    till.world.budget(limit(15, "ann", currency="USDC"))
    receiver, payer = till.world.token("shop"), till.world.token("ann")
    draft = paying(ann, shop, request_id="order 7")
    drafts = (draft, paying(ann, shop, "20"), paying(ann, shop, debug_mode=True))
    made = [till.pay(each, caller=payer).value for each in drafts]
    assert [each.payment.status for each in made] == ["success", "failed", "failed"]
    for each in made:
        assert till.get(each.payment.payment_id, payer) == each
        assert each.decision is not None
        seen = till.get(each.payment.payment_id, receiver)
        assert (seen.decision, seen.payment.error_details) == (None, None)
        assert seen.payment.amount_minor == each.payment.amount_minor
    with pytest.raises(NotFound):
        till.pay(draft, caller=receiver)
    page = till.paymaster.listed(receiver, None, PaymentFilter(), PageRequest())
    assert [each.decision for each in page.values] == [None] * 3


def test_who_is_paid_is_told_what_a_network_said(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.tenant()
        world.identity("ann")
        world.identity("shop", type_name="service")
        till = Till(world, {"solana": FakeRail(FAILED)})
        ann, shop = till.account("ann", "100", network="solana"), till.account("shop", network="solana")
        payment = till.paid(paying(ann, shop))
        seen = till.get(payment.payment_id, world.token("shop"))
        assert (seen.decision, seen.payment.error_details) == (None, FAILED.error_details)


def test_an_identity_out_of_reach_pays_nothing_for_an_agent(till: Till, ann: str, shop: str) -> None:
    for draft in (paying("ann", shop), paying(ann, shop, identity_id="ann"), paying(ann, shop, identity_id="bob")):
        with pytest.raises(NotFound):
            till.pay(draft, caller=till.world.token("bob"))


def meddling_before(
    till: Till, monkeypatch: pytest.MonkeyPatch, meddle: Callable[[Transaction, TenantTransaction], None], times: int
) -> None:
    """Let ``meddle`` change something between plan and write, so many times."""
    enter, left = till.paymaster._enter, [times]  # noqa: SLF001 -- the moment in between

    def changed_first(txn: Transaction, **more: object) -> object:
        if left[0]:
            left[0] -= 1
            meddle(txn, txn.of(next(txn.tenants.after(0))))
        return enter(txn, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(till.paymaster, "_enter", changed_first)


def flip_shop(txn: Transaction, part: TenantTransaction) -> None:
    """Suspend the shop, or let it act again: policies may look at what a receiver is."""
    shop = part.identities.get("shop")
    assert shop is not None
    flipped = msgspec.structs.replace(shop, status="active" if shop.status == "suspended" else "suspended")
    change_identity(txn, part, flipped, "identity_updated", "operator", NOON)


@pytest.mark.usefixtures("ann", "shop")
def test_an_account_that_closes_between_plan_and_write_is_not_paid_into(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked is the same, so no second try is needed."""
    newer = till.account("shop")

    def close_oldest(txn: Transaction, part: TenantTransaction) -> None:
        account = next(each for _, each in part.accounts.owned("shop") if each.status == "active")
        close_account(txn, part, account, "operator", till.world.now_us)

    meddling_before(till, monkeypatch, close_oldest, 1)
    assert till.paid(paying("ann", "shop")).to_account_id == newer


@pytest.mark.usefixtures("ann", "shop")
def test_what_is_asked_otherwise_is_ruled_on_again(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    meddling_before(till, monkeypatch, flip_shop, TRIES_MAX - 1)
    assert till.paid(paying("ann", "shop")).status == "success"


@pytest.mark.usefixtures("ann", "shop")
def test_what_is_asked_otherwise_all_the_time_is_given_up_on(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    meddling_before(till, monkeypatch, flip_shop, TRIES_MAX)
    with pytest.raises(Conflict, match="all the time"):
        till.pay(paying("ann", "shop"))


@pytest.mark.usefixtures("ann", "shop")
def test_a_chain_that_changes_all_the_time_holds_no_payment_up(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ruling is made again in the transaction, so nobody is told to try again."""

    def rename_ann(txn: Transaction, part: TenantTransaction) -> None:
        ann = part.identities.get("ann")
        assert ann is not None
        change_identity(txn, part, ann, "identity_updated", "operator", NOON)

    meddling_before(till, monkeypatch, rename_ann, TRIES_MAX)
    assert till.paid(paying("ann", "shop")).status == "success"


def test_a_token_that_ended_sees_no_payment_again(till: Till, ann: str, shop: str) -> None:
    token = till.world.token("ann", life_us=HOUR)
    draft = paying(ann, shop, request_id="order 7")
    till.pay(draft, caller=token)
    till.world.now_us += HOUR
    with pytest.raises(Unauthenticated):
        till.pay(draft, caller=token)


def test_receivers_that_the_schema_has_no_payments_for_are_a_denial(till: Till, ann: str) -> None:
    """The action of the request is not in the schema at all: the decision says so, and the context is the caller's."""
    files = only_schemas()
    text = files.schemas[0].text
    start = text.index('action "payment.create"')
    cut = text[:start] + text[text.index("action ", start + 1) :]
    first, *rest = files.schemas
    till.world.load(msgspec.structs.replace(files, schemas=(SourceFile(first.path, cut), *rest)))
    till.account("shop")
    payment = till.paid(paying(ann, "shop"))
    assert payment.status == "failed"
    assert (payment.error_details or "").startswith("not_permitted")


# --- Events -----------------------------------------------------------------------------------------------------------


def test_endpoints_are_told_how_a_payment_ended_and_nothing_of_a_rehearsal(till: Till, ann: str, shop: str) -> None:
    mail = Mailroom(till.world)
    hook = mail.hook("payment.succeeded", "payment.failed")
    till.paid(paying(ann, shop, debug_mode=True))
    made = till.paid(paying(ann, shop, "10.5", request_id="order 7"))
    till.world.revoke("ann")
    failed = till.paid(paying(ann, shop))
    told = [orjson.loads(waiting.body) for waiting in mail.waiting(hook)]
    assert [event["type"] for event in told] == ["payment.succeeded", "payment.failed"]
    assert told[0]["data"] == {
        "tenant_id": "t_one",
        "payment_id": made.payment_id,
        "decision_id": made.decision_id,
        "identity_id": "ann",
        "sender_id": "ann",
        "receiver_id": "shop",
        "from_account_id": ann,
        "to_account_id": shop,
        "amount": 10.5,
        "currency": "USDC",
        "network": "internal",
        "status": "success",
        "request_id": "order 7",
        "transaction_hash": None,
        "error_details": None,
    }
    assert (told[1]["data"]["payment_id"], told[1]["data"]["error_details"]) == (
        failed.payment_id,
        failed.error_details,
    )


def test_the_witness_sees_the_decision_of_a_payment_once(
    till: Till, ann: str, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of any decision that is new and on disk: what a shadow policy would have said of it is compared."""
    seen: list[str | None] = []
    monkeypatch.setattr(
        till.world.authorizer, "show", lambda _tenant, _request, answered: seen.append(answered.decision.decision_id)
    )
    draft = paying(ann, shop, request_id="order 7")
    made = till.paid(draft)
    till.paid(draft)
    till.paid(paying(ann, shop, debug_mode=True))
    assert seen == [made.decision_id]
