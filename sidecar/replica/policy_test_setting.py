"""The tenant that a test file makes up: its identities, cards, policies and budgets.

What the API would refuse is refused here, with the place in the file: types that the schema does not declare, parents
and owners that are not there, an id that is there twice. Budgets are read by ``policy_test_budgets``.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final, get_args

import msgspec

from sidecar.core.cards import Card, CardStatus
from sidecar.core.directory import Identity, Mode, Status, Tenant
from sidecar.core.ids import check_name, check_type, pascal_case, snake_case
from sidecar.core.limits import CHAIN_DEPTH_MAX, METADATA_BYTES_MAX
from sidecar.core.metadata import check_noted
from sidecar.core.model import Json, check_key, check_plain
from sidecar.core.money import Major
from sidecar.core.rules import Rules
from sidecar.core.schema import SchemaModel
from sidecar.core.windows import zone
from sidecar.replica.policy_test_budgets import ROOT, currency, read_budget
from sidecar.replica.policy_test_fields import Fields, at, hint, listed
from sidecar.replica.yaml_tree import Listing, Mapping, Node, Scalar, plain
from sidecar.service.policy_tests import Setting, WrittenPolicy

SETTING_KEYS: Final = frozenset({"tenant", "time_zone", "mode", "identities", "cards", "policies", "budgets"})
"""Keys of a file, or of one of its tests, that say what the tenant is."""

_MODES: Final[tuple[Mode, ...]] = get_args(Mode)
_STATUSES: Final[tuple[Status, ...]] = get_args(Status)
_CARD_STATUSES: Final[tuple[CardStatus, ...]] = get_args(CardStatus)

_IDENTITY: Final = frozenset({"id", "parent", "type", "name", "status", "metadata", "external_id"})
_CARD: Final = frozenset({"id", "of", "currency", "status", "allowed_mccs"})
_POLICY: Final = frozenset({"id", "of", "rules", "cedar"})
_TEXTS: Final = frozenset({"allowed_mccs", "blocked_mccs", "currencies", "currency", "max_amount", "id", "type"})
"""Keys of rules whose values are texts, however they are written: ``7995`` is a category, ``47.10`` an amount."""

_MCC: Final = re.compile(r"[0-9]{4}")
_UNKNOWN: Final = re.compile(r"contains unknown field `([^`]*)`")
_AT: Final = re.compile(r" - at `(?:key in )?\$\.?(?P<path>[^`]*)`$")


def read_setting(fields: Fields, tenant_id: str, schema: SchemaModel) -> Setting:
    """Return the tenant that the keys of ``SETTING_KEYS`` describe; ``tenant_id`` is its id unless they name one."""
    named = fields.id("tenant") or tenant_id
    time_zone = fields.text("time_zone") or "UTC"
    with at(fields.place_of("time_zone")):
        zone(time_zone)
    mode = fields.choice("mode", _MODES, "live")
    tenant = Tenant(
        tenant_id=named,
        number=1,
        name=named,
        mode=mode,
        time_zone=time_zone,
        root_identity_id=ROOT,
        log_id="",
        created_at_us=0,
    )
    identities = _identities(fields, schema)
    cards = _cards(fields, frozenset(identities))
    drafts = [read_budget(node, frozenset(identities), frozenset(cards), schema) for node in fields.items("budgets")]
    budgets = {budget.budget_id: (budget, used) for budget, used in drafts}
    _once([budget.budget_id for budget, _ in drafts], fields, "budgets")
    policies = tuple(_policy(node, frozenset(identities)) for node in fields.items("policies"))
    _once([policy.policy_id for policy in policies], fields, "policies")
    return Setting(
        tenant=tenant,
        identities=tuple(identities.values()),
        cards=tuple(cards.values()),
        policies=policies,
        budgets=tuple(budget for budget, _ in budgets.values()),
        used=tuple(used for _, used in budgets.values() if used is not None),
    )


def wire_types(cedar_types: Iterable[str]) -> frozenset[str]:
    """Return types as requests write them."""
    return frozenset(filter(None, map(snake_case, cedar_types)))


def category(fields: Fields, key: str) -> str | None:
    """Return a merchant category."""
    text = fields.text(key)
    if text is not None and _MCC.fullmatch(text) is None:
        fields.place_of(key).refuse(f"a merchant category has four digits (ISO 18245), got `{text}`")
    return text


def data(fields: Fields, key: str, check: Callable[[object, str], Json] = check_plain) -> dict[str, Json]:
    """Return data with keys of the user's own, as ``check`` lets it pass; a null leaves its key out."""
    found: dict[str, Json] = {}
    for name, node in fields.mapping(key).items():
        if isinstance(node, Scalar) and node.is_null:
            continue
        with at(node.place):
            found[check_key(name, key)] = check(plain(node), f"{key}.{name}")
    return found


def _once(ids: list[str], fields: Fields, key: str) -> None:
    seen = set[str]()
    for one, node in zip(ids, fields.items(key), strict=True):
        if one in seen:
            node.place.refuse(f"the id `{one}` is there twice in `{key}`")
        seen.add(one)


def _identities(fields: Fields, schema: SchemaModel) -> dict[str, Identity]:
    """Return the identities by id, the root among them whether it is written or not."""
    read = [Fields(node, "an identity", _IDENTITY) for node in fields.items("identities")]
    ids = [each.own_id() for each in read]
    _once(ids, fields, "identities")
    everybody = frozenset({ROOT, *ids})
    found = {ROOT: Identity(identity_id=ROOT, parent_id=None, type="user", name=ROOT, created_at_us=0, revision=1)}
    for each, identity_id in zip(read, ids, strict=True):
        found[identity_id] = _identity(each, identity_id, everybody, schema)
    for each, identity_id in zip(read, ids, strict=True):
        _require_chain(found, identity_id, each)
    return found


def _identity(fields: Fields, identity_id: str, everybody: frozenset[str], schema: SchemaModel) -> Identity:
    type_name = fields.text("type") or ("user" if identity_id == ROOT else "agent")
    with at(fields.place_of("type")):
        check_type(type_name, "type")
    if pascal_case(type_name) not in schema.identity_types:
        types = listed(wire_types(schema.identity_types))
        fields.place_of("type").refuse(f"the schema declares no identity type `{type_name}`, only {types}")
    parent = fields.known("parent", everybody, "identity")
    if parent is not None and identity_id == ROOT:
        fields.place_of("parent").refuse(f"`{ROOT}` is the root of the tenant and has no parent")
    metadata = data(fields, "metadata", check_noted)
    if len(msgspec.json.encode(metadata)) > METADATA_BYTES_MAX:
        fields.place_of("metadata").refuse(f"metadata has at most {METADATA_BYTES_MAX} bytes as JSON")
    status: Status = fields.choice("status", _STATUSES, "active")
    return Identity(
        identity_id=identity_id,
        parent_id=None if identity_id == ROOT else parent or ROOT,
        type=type_name,
        name=_name(fields, "name") or identity_id,
        status=status,
        external_id=_name(fields, "external_id"),
        metadata=metadata,
        created_at_us=0,
        revision=1,
    )


def _name(fields: Fields, key: str) -> str | None:
    text = fields.text(key)
    with at(fields.place_of(key)):
        return None if text is None else check_name(text, key)


def _require_chain(found: dict[str, Identity], identity_id: str, fields: Fields) -> None:
    """Refuse an identity that does not lead to the root within the depth that a tenant can have."""
    parent, steps = found[identity_id].parent_id, 1
    while parent is not None:
        steps += 1
        if steps > CHAIN_DEPTH_MAX:
            fields.place_of("parent").refuse(f"`{identity_id}` is more than {CHAIN_DEPTH_MAX} steps below the root")
        parent = found[parent].parent_id


def _cards(fields: Fields, everybody: frozenset[str]) -> dict[str, Card]:
    read = [Fields(node, "a card", _CARD) for node in fields.items("cards")]
    cards = [_card(each, everybody) for each in read]
    _once([card.card_id for card in cards], fields, "cards")
    return {card.card_id: card for card in cards}


def _card(fields: Fields, everybody: frozenset[str]) -> Card:
    fields.need("currency")
    mccs = fields.texts("allowed_mccs")
    if not all(_MCC.fullmatch(mcc) for mcc in mccs):
        fields.place_of("allowed_mccs").refuse("a merchant category has four digits (ISO 18245)")
    status: CardStatus = fields.choice("status", _CARD_STATUSES, "active")
    return Card(
        card_id=fields.own_id(),
        identity_id=fields.known("of", everybody, "identity") or ROOT,
        currency=currency(fields) or "",
        status=status,
        allowed_mccs=mccs,
        created_at_us=0,
        thawed_revision=1,
        revision=1,
    )


def _policy(node: Node, everybody: frozenset[str]) -> WrittenPolicy:
    fields = Fields(node, "a policy", _POLICY)
    policy_id, rules = fields.own_id(), fields.node("rules")
    if (rules is None) == (fields.node("cedar") is None):
        fields.place.refuse("a policy has either `rules` or `cedar`")
    return WrittenPolicy(
        policy_id=policy_id,
        identity_id=fields.known("of", everybody, "identity"),
        rules=None if rules is None else _rules(rules),
        cedar=fields.text("cedar"),
    )


def _rules(node: Node) -> Rules:
    try:
        return msgspec.convert(plain(node, _TEXTS), Rules, strict=True, dec_hook=_major)
    except msgspec.ValidationError as error:
        match = _AT.search(str(error))
        steps = () if match is None else tuple(re.findall(r"[^.\[\]]+", match["path"]))
        message = _AT.sub("", str(error))
        unknown = _UNKNOWN.search(message)
        if unknown is not None:
            message = f"unknown key `{unknown[1]}`{hint(unknown[1], Rules.__struct_fields__)}"
        (_found(node, steps)).place.refuse(f"the rules do not fit, {message[:1].lower()}{message[1:]}")


def _major(wanted: type, value: object) -> object:
    if wanted is not Major:
        raise NotImplementedError(wanted)
    return Major.parse(value)


def _found(node: Node, steps: tuple[str, ...]) -> Node:
    """Return what a path of msgspec leads to, as far as it can be followed."""
    for step in steps:
        if isinstance(node, Mapping) and step in node.entries:
            node = node.entries[step]
        elif isinstance(node, Listing) and step.isdigit() and int(step) < len(node.items):
            node = node.items[int(step)]
    return node
