"""The policy of a grant: its text, that it fits the shipped schema, and what a schema must have for it."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.directory import Identity
from sidecar.core.errors import ValidationFailed
from sidecar.core.grant_policy import policy_text, require_action, require_recipient
from sidecar.core.grants import Grant
from sidecar.core.model import ResourceRef
from sidecar.core.policy import CompiledSchema, compile_schema
from sidecar.core.policy_compilation import compile_statements
from tests.core.test_grants import GRANT

SCHEMA = (Path(__file__).parent.parent.parent / "schemas" / "sidecar.cedarschema").read_text()


OWNERS = tuple(
    Identity(identity_id=name, parent_id=None, type=kind, name=name, created_at_us=0, revision=1)
    for name, kind in (("ann", "user"), ("owners", "team"))
)


def schema(text: str = SCHEMA) -> CompiledSchema:
    return compile_schema((("schemas/it.cedarschema", text),))


def test_the_whole_text() -> None:
    assert (
        policy_text(GRANT, "pol_1", OWNERS)
        == """\
@id("pol_1")
@description("grant grt_1 lets this identity pay from wallet acct_1")
permit (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" };

@id("pol_1/asset")
@description("grant grt_1 of wallet acct_1 is for USDC only")
@advice("pay in USDC")
forbid (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" }
unless { context.currency == "USDC" };

@id("pol_1/owner")
@description("the owner of wallet acct_1 is not active")
@advice("nothing is paid from this wallet until its owner is active again")
forbid (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" }
unless { User::"ann".status == "active" && Team::"owners".status == "active" };

@id("pol_1/max_per_tx")
@description("grant grt_1 of wallet acct_1 allows at most 5 USDC per payment")
@advice("pay at most 5 USDC, or ask the wallet's owner for another grant")
forbid (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" }
unless { context.amount <= 5000000 };

@id("pol_1/recipients")
@description("grant grt_1 of wallet acct_1 allows payments to agent shop only")
@advice("pay agent shop, or ask the wallet's owner for another grant")
forbid (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" }
unless { (resource is Agent && [Agent::"shop"].contains(resource)) };

@id("pol_1/expires_at")
@description("grant grt_1 of wallet acct_1 ended at 1970-01-01T00:00:01Z")
@advice("ask the wallet's owner for another grant")
forbid (principal in ?principal, action == Action::"payment.create", resource)
when { context has account_id && context.account_id == "acct_1" }
unless { context.now < datetime("1970-01-01T00:00:01Z") };
"""
    )


MANY = tuple(ResourceRef(("agent", "account")[n % 2], f"r{n}") for n in range(7))
ODD = (ResourceRef("account", 'a") || true //'), ResourceRef("user", "\u200dé"))


@pytest.mark.parametrize("grant", [GRANT, *(msgspec.structs.replace(GRANT, recipients=each) for each in (MANY, ODD))])
def test_each_text_fits_the_shipped_schema(grant: Grant) -> None:
    units = compile_statements(policy_text(grant, "pol_1", OWNERS), "it", schema(), shared=False)
    assert [unit.id for unit in units] == ["pol_1", *(f"pol_1/{rule}" for rule in RULES)]
    assert {unit.slots for unit in units} == {("?principal",)}


RULES = ("asset", "owner", "max_per_tx", "recipients", "expires_at")


def test_a_sentence_names_some_of_many_recipients() -> None:
    text = policy_text(msgspec.structs.replace(GRANT, recipients=MANY), "pol_1", ())
    assert "allows payments to agent r0 or account r1 or agent r2 or account r3 or agent r4 or 2 more only" in text


def test_a_grant_without_limits_is_bound_to_its_wallet_and_asset() -> None:
    plain = msgspec.structs.replace(GRANT, max_per_tx=None, recipients=(), expires_at_us=None)
    units = compile_statements(policy_text(plain, "pol_1", ()), "it", schema(), shared=False)
    assert [unit.id for unit in units] == ["pol_1", "pol_1/asset"]


# --- Schemas ----------------------------------------------------------------------------------------------------------


def test_the_shipped_schema_has_what_grants_need() -> None:
    require_action(schema().model)
    without_option = SCHEMA.replace("account_id?: String", "account_id: String")
    require_action(schema(without_option).model)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("    account_id?: String,\n", "", "account_id"),
        ("account_id?: String", "account_id?: Long", "account_id"),
        ("    amount: Long,\n", "    amount?: Long,\n", "amount"),
        ("    currency: String,\n", "", "currency"),
        ("    now: datetime,\n", "    now?: datetime,\n", "now"),
    ],
)
def test_a_schema_that_lacks_something_is_refused(old: str, new: str, named: str) -> None:
    head, mark, tail = SCHEMA.partition('action "payment.create"')
    changed = head + mark + tail.replace(old, new, 1)
    with pytest.raises(ValidationFailed, match=f"does not declare `{named}` in its context as grants need it"):
        require_action(schema(changed).model)


def test_a_schema_without_payments_is_refused() -> None:
    named = schema(SCHEMA.replace('action "payment.create" in', 'action "payment.send" in'))
    group = schema(SCHEMA.replace('action "payment.create" in', 'action "payment.create";\naction "payment.send" in'))
    for each in (named, group):
        with pytest.raises(ValidationFailed, match=r"the schema knows no action `payment\.create`"):
            require_action(each.model)


def test_recipients_are_what_payments_go_to() -> None:
    require_recipient(schema().model, "agent", "shop", "recipients[0]")
    with pytest.raises(ValidationFailed, match="pays no `merchant`") as caught:
        require_recipient(schema().model, "merchant", "shop", "recipients[0]")
    assert caught.value.field == "recipients[0].type"


def test_a_recipient_of_a_closed_list_is_on_it() -> None:
    closed = schema(SCHEMA.replace("entity Account = { country?: String };", 'entity Account enum ["a"];')).model
    require_recipient(closed, "account", "a", "recipients[0]")
    with pytest.raises(ValidationFailed, match="declares no such `account`") as caught:
        require_recipient(closed, "account", "b", "recipients[0]")
    assert caught.value.field == "recipients[0].id"
