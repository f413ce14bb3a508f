"""What one key of a JSON rules policy demands, as a Cedar condition and in words.

Invariants: every text of a caller enters a condition through ``sidecar.core.literals``; a condition reads no context
field besides its ``fields``. Which actions it is applied to belongs to ``sidecar.core.rules``.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.grammar import (
    Amount,
    Currencies,
    Currency,
    Hours,
    MerchantCategories,
    Name,
    TypeName,
    Weekdays,
)
from sidecar.core.ids import check_name, check_type, pascal_case
from sidecar.core.literals import entity, quote
from sidecar.core.money import Major, major_text
from sidecar.core.schema import LONG, STRING, Primitive, SchemaModel

ENTRIES_MAX: Final = 1_000
"""Entries of one list; there are fewer merchant categories than that, and a policy's text has a limit anyway."""

CONTEXT_TYPES: Final[dict[str, Primitive]] = {
    "amount": LONG,
    "currency": STRING,
    "merchant_category": STRING,
    "hour": LONG,
    "weekday": LONG,
}
"""The context fields that restrictions read, with the type an action must declare for them."""

_MCC: Final = re.compile(r"[0-9]{4}")
_HOURS_IN_DAY: Final = 24
_DAYS: Final = range(1, 8)


class RuleResource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource by its wire type, such as ``merchant``, and id."""

    type: TypeName
    id: Name


RuleResources: TypeAlias = Annotated[
    tuple[RuleResource, ...], msgspec.Meta(extra_json_schema={"minItems": 1, "uniqueItems": True})
]


class Restrictions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must hold, all of it; a key left out demands nothing. Decoding needs a ``dec_hook`` for ``Major``.

    Hours are ``[from, to)`` in the tenant's time zone, days 1 (Monday) to 7.
    """

    max_amount: Amount | None = None
    currencies: Currencies | None = None
    currency: Currency | None = None
    allowed_mccs: MerchantCategories | None = None
    blocked_mccs: MerchantCategories | None = None
    allowed_hours: Hours | None = None
    allowed_days: Weekdays | None = None
    allowed_resources: RuleResources | None = None
    blocked_resources: RuleResources | None = None


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One demand: ``expression`` is true where it is met, given that the context has all of ``fields``.

    A request without them meets it when ``met_without``: what moves no money exceeds no amount, while a merchant of
    unknown category is neither allowed nor known not to be blocked, or leaving it out would be the way around.
    """

    key: str
    fields: tuple[str, ...]
    expression: str
    requirement: str
    met_without: bool = False


def conditions(wanted: Restrictions, schema: SchemaModel, field: str) -> Iterator[Condition]:
    """Yield a condition per key of ``wanted``, in a fixed order; ``field`` is its place in the request.

    Raises ValidationFailed, naming the place, for a value that is out of range, unknown, empty or given twice.
    """
    if wanted.max_amount is not None:
        yield _max_amount(wanted.max_amount, wanted, field)
    if wanted.currencies is not None:
        yield _currencies("currencies", wanted.currencies, field)
    if wanted.currency is not None:
        yield _currencies("currency", (wanted.currency,), field)
    if wanted.allowed_mccs is not None:
        yield _categories("allowed_mccs", wanted.allowed_mccs, field)
    if wanted.blocked_mccs is not None:
        yield _categories("blocked_mccs", wanted.blocked_mccs, field)
    if wanted.allowed_hours is not None:
        yield _hours(wanted.allowed_hours, field)
    if wanted.allowed_days is not None:
        yield _days(wanted.allowed_days, field)
    if wanted.allowed_resources is not None:
        yield _resources("allowed_resources", wanted.allowed_resources, schema, field)
    if wanted.blocked_resources is not None:
        yield _resources("blocked_resources", wanted.blocked_resources, schema, field)


def check_list(entries: Sequence[object], field: str) -> None:
    """Raise ValidationFailed, naming ``field``, unless ``entries`` are some, not too many, and all different."""
    if not entries:
        raise ValidationFailed("an empty list allows nothing, leave the key out instead", field=field)
    if len(entries) > ENTRIES_MAX:
        raise ValidationFailed(f"at most {ENTRIES_MAX} entries are expected", field=field)
    if len(set(entries)) != len(entries):
        raise ValidationFailed("an entry is given twice", field=field)


def _max_amount(limit: Major, wanted: Restrictions, field: str) -> Condition:
    place = f"{field}.max_amount"
    codes = [*(wanted.currencies or ()), *([wanted.currency] if wanted.currency is not None else [])]
    if not codes:
        raise ValidationFailed("an amount needs `currencies` or `currency` beside it", field=place)
    # One amount in words is another number of minor units where the currency has other decimal places.
    by_minor: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_minor.setdefault(limit.minor(code, place), []).append(code)
    within = [f"({_listed('currency', group)} && context.amount <= {minor})" for minor, group in by_minor.items()]
    # An amount in a currency that is not listed fails `currencies`, not this.
    alternatives = [f"!{_listed('currency', dict.fromkeys(codes))}", *within]
    words = (f"{major_text(minor, code)} {code}" for minor, group in by_minor.items() for code in group)
    return Condition(
        key="max_amount",
        fields=("amount", "currency"),
        expression=" || ".join(alternatives),
        requirement=f"amount at most {' or '.join(words)}",
        met_without=True,
    )


def _currencies(key: str, codes: tuple[str, ...], field: str) -> Condition:
    check_list(codes, f"{field}.{key}")
    for code in codes:
        places(code, f"{field}.{key}")
    return Condition(
        key=key,
        fields=("currency",),
        expression=_listed("currency", codes),
        requirement=f"currency {_one_of(codes)}",
        met_without=True,
    )


def _categories(key: str, codes: tuple[str, ...], field: str) -> Condition:
    check_list(codes, f"{field}.{key}")
    if not all(_MCC.fullmatch(code) for code in codes):
        raise ValidationFailed("a merchant category code is 4 digits", field=f"{field}.{key}")
    negation = "!" if key == "blocked_mccs" else ""
    return Condition(
        key=key,
        fields=("merchant_category",),
        expression=negation + _listed("merchant_category", codes),
        requirement=f"merchant_category {'given and not ' if negation else ''}{_one_of(codes)}",
    )


def _hours(hours: tuple[int, int], field: str) -> Condition:
    start, end = hours
    place = f"{field}.allowed_hours"
    if not (0 <= start <= _HOURS_IN_DAY and 0 <= end <= _HOURS_IN_DAY):
        raise ValidationFailed(f"hours are 0 to {_HOURS_IN_DAY}", field=place)
    if start == end or (start, end) == (_HOURS_IN_DAY, 0):
        raise ValidationFailed("the hours begin and end at once, `[0, 24]` is the whole day", field=place)
    either = "&&" if start < end else "||"
    return Condition(
        key="allowed_hours",
        fields=("hour",),
        expression=f"context.hour >= {start} {either} context.hour < {end}",
        requirement=f"hour from {start} to {end}",
    )


def _days(days: tuple[int, ...], field: str) -> Condition:
    check_list(days, f"{field}.allowed_days")
    if not all(day in _DAYS for day in days):
        raise ValidationFailed("days are 1 (Monday) to 7", field=f"{field}.allowed_days")
    return Condition(
        key="allowed_days",
        fields=("weekday",),
        expression=f"[{', '.join(map(str, days))}].contains(context.weekday)",
        requirement=f"weekday {_one_of(map(str, days))}",
    )


def _resources(key: str, resources: tuple[RuleResource, ...], schema: SchemaModel, field: str) -> Condition:
    check_list(resources, f"{field}.{key}")
    by_type: dict[str, list[str]] = {}
    for index, resource in enumerate(resources):
        by_type.setdefault(_resource_type(resource, schema, f"{field}.{key}[{index}]"), []).append(resource.id)
    # Asking for the type first lets resources of several types stand in one policy under strict validation.
    tests = [
        f"(resource is {name} && [{', '.join(entity(name, each) for each in ids)}].contains(resource))"
        for name, ids in by_type.items()
    ]
    negation = key == "blocked_resources"
    listed = " || ".join(tests)
    words = _one_of(f"{resource.type} {resource.id}" for resource in resources)
    return Condition(
        key=key,
        fields=(),
        expression=f"!({listed})" if negation else listed,
        requirement=f"resource {'not ' if negation else ''}{words}",
    )


def _resource_type(resource: RuleResource, schema: SchemaModel, field: str) -> str:
    """Return the Cedar type of a resource whose type and id the schema knows."""
    check_name(resource.id, f"{field}.id")
    declared = schema.entity_types.get(pascal_case(check_type(resource.type, f"{field}.type")))
    if declared is None:
        raise ValidationFailed(f"the schema declares no type `{resource.type}`", field=f"{field}.type")
    if declared.choices is not None and resource.id not in declared.choices:
        raise ValidationFailed(f"the schema declares no such `{resource.type}`", field=f"{field}.id")
    return declared.name


def _listed(name: str, codes: Iterator[str] | Sequence[str] | dict[str, None]) -> str:
    return f"[{', '.join(map(quote, codes))}].contains(context.{name})"


def _one_of(words: Iterator[str] | Sequence[str]) -> str:
    return f"one of {', '.join(words)}"
