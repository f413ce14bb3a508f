"""The grammars of the wire as types, for the description of the API: what a schema can say of an id, a name, an amount.

Invariant: nothing is checked through these types. They carry JSON Schema (2020-12) beside the type, so that the checks
in ``ids``, ``money``, ``instants`` and ``restrictions`` keep their own sentences; tests compare the two.
Patterns are in the dialect that ECMA-262 and Python share.
"""

from typing import Annotated, Final, TypeAlias

from msgspec import Meta

from sidecar.core.ids import TYPE_LENGTH_MAX
from sidecar.core.limits import QUANTITIES_MAX
from sidecar.core.money import AMOUNT_MINOR_MAX, DECIMALS_MAX, WHOLE_DIGITS_MAX, Major

_WHOLE: Final = rf"(0|[1-9][0-9]{{0,{WHOLE_DIGITS_MAX - 1}}})"
_ULID: Final = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
_CALLER_ID: Final = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$"
_LIST: Final = {"minItems": 1, "uniqueItems": True}


def _own(prefix: str, words: str) -> Meta:
    """Return what is said of an id that the sidecar makes."""
    schema = {"pattern": f"^{prefix}_{_ULID}$"}
    return Meta(description=words, examples=[f"{prefix}_01K9Z3J4M5N6P7Q8R9S0T1V2W3"], extra_json_schema=schema)


def _chosen(words: str, example: str) -> Meta:
    """Return what is said of an id that a caller may choose."""
    return Meta(description=words, examples=[example], extra_json_schema={"pattern": _CALLER_ID})


MAJOR_SCHEMA: Final = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": AMOUNT_MINOR_MAX,
    "pattern": rf"^{_WHOLE}(\.[0-9]{{1,{DECIMALS_MAX}}})?$",
}
"""What ``Major`` is in a schema. What its currency allows of it (decimal places, the largest amount) no schema says."""

CallerId: TypeAlias = Annotated[str, _chosen("an id of the caller's choice; two spellings are two ids", "acme")]
TenantId: TypeAlias = Annotated[
    str, _chosen("the tenant; may be left out where the token implies it, and where the query names it", "acme")
]
IdentityId: TypeAlias = Annotated[str, _chosen("an identity of the tenant", "agent-procurement")]
PolicyId: TypeAlias = Annotated[str, _own("pol", "a policy of the tenant")]
BudgetId: TypeAlias = Annotated[str, _own("bud", "a budget of the tenant")]
DecisionId: TypeAlias = Annotated[str, _own("dec", "a decision of the tenant")]
CardId: TypeAlias = Annotated[str, _own("card", "a card of the tenant")]
AccountId: TypeAlias = Annotated[str, _own("acct", "an account of the tenant")]
PaymentId: TypeAlias = Annotated[str, _own("pay", "a payment of the tenant")]
GrantId: TypeAlias = Annotated[str, _own("grt", "a permission grant of the tenant")]
CardProgramId: TypeAlias = Annotated[str, _own("cprg", "a card program of the tenant")]
PasskeyId: TypeAlias = Annotated[str, _own("pk", "a passkey of the tenant")]
TokenId: TypeAlias = Annotated[str, _own("tok", "a token of the tenant")]
ActionName: TypeAlias = Annotated[
    str,
    Meta(
        description="an action of the Cedar schema, or a group of actions where a policy or budget names it",
        examples=["card.authorize"],
        extra_json_schema={"pattern": "^[A-Za-z0-9._:/-]{1,128}$"},
    ),
]
TypeName: TypeAlias = Annotated[
    str,
    Meta(
        description="a type of the Cedar schema in snake_case",
        examples=["agent"],
        extra_json_schema={"pattern": "^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$", "maxLength": TYPE_LENGTH_MAX},
    ),
]
Name: TypeAlias = Annotated[
    str,
    Meta(
        description="1 to 512 characters without control characters and line separators",
        extra_json_schema={
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]+$",
            "minLength": 1,
            "maxLength": 512,
        },
    ),
]
Description: TypeAlias = Annotated[
    str,
    Meta(
        description="at most 2048 characters, with line breaks and tabs but no other control characters",
        extra_json_schema={
            "pattern": r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$",
            "maxLength": 2048,
        },
    ),
]
Currency: TypeAlias = Annotated[
    str,
    Meta(
        description="a code of ISO 4217, or of a digital asset such as `USDC`, in upper case",
        examples=["CAD"],
        extra_json_schema={"pattern": "^[A-Z]{3,4}$"},
    ),
]
MerchantCategory: TypeAlias = Annotated[
    str,
    Meta(
        description="a merchant category of ISO 18245", examples=["7372"], extra_json_schema={"pattern": "^[0-9]{4}$"}
    ),
]
Amount: TypeAlias = Annotated[
    Major,
    Meta(
        description=(
            "an exact amount in major units, as a number or as text, without exponent, with at most the decimal places"
            " of its currency and at most 10^15 minor units"
        ),
        examples=[47.23, "47.23"],
    ),
]
Quantity: TypeAlias = Annotated[
    Major,
    Meta(
        description="a whole number, or the text of one",
        examples=[1200],
        extra_json_schema={"multipleOf": 1, "pattern": f"^{_WHOLE}$"},
    ),
]
QuantityName: TypeAlias = Annotated[TypeName, Meta(extra_json_schema={"not": {"enum": ["amount", "count"]}})]
Quantities: TypeAlias = Annotated[
    dict[QuantityName, Quantity],
    Meta(
        description="what a request consumes beside money, by name; each name can have budgets",
        examples=[{"tokens": 1200}],
        extra_json_schema={"maxProperties": QUANTITIES_MAX},
    ),
]
Share: TypeAlias = Annotated[
    Major,
    Meta(
        description="a share from 0 to 1 with at most four decimal places",
        examples=[0.8],
        extra_json_schema={"maximum": 1, "pattern": r"^(0(\.[0-9]{1,4})?|1(\.0{1,4})?)$"},
    ),
]
Instant: TypeAlias = Annotated[
    str,
    Meta(
        description="RFC 3339 with at most 6 decimals of a second",
        examples=["2026-03-09T12:00:00Z"],
        extra_json_schema={"format": "date-time"},
    ),
]

WebhookId: TypeAlias = Annotated[str, _own("wh", "a webhook of the tenant")]
RateLimitText: TypeAlias = Annotated[
    str,
    Meta(
        description="requests in a time, at once or spread over it",
        examples=["100/second"],
        extra_json_schema={"pattern": "^[1-9][0-9]{0,6}/(second|minute|hour|day)$"},
    ),
]

Currencies: TypeAlias = Annotated[tuple[Currency, ...], Meta(extra_json_schema=_LIST)]
MerchantCategories: TypeAlias = Annotated[tuple[MerchantCategory, ...], Meta(extra_json_schema=_LIST)]
ActionNames: TypeAlias = Annotated[tuple[ActionName, ...], Meta(extra_json_schema=_LIST)]
Hour: TypeAlias = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": 24})]
Hours: TypeAlias = Annotated[
    tuple[Hour, Hour],
    Meta(
        description="`[from, to)` in the tenant's time zone; from > to goes over midnight, equal is refused",
        examples=[[9, 18]],
    ),
]
Weekday: TypeAlias = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": 7})]
Weekdays: TypeAlias = Annotated[
    tuple[Weekday, ...], Meta(description="1 is Monday", examples=[[1, 2, 3, 4, 5]], extra_json_schema=_LIST)
]
