"""From the text of a ``*.test.yaml`` file to cases: tables as rows, requests whole, mistakes with their place.

What a test leaves out is taken from its file: its own keys are laid over those of the file, mapping by mapping and
thing by thing (``sidecar.replica.yaml_tree.laid_over``). All that can be said without deciding is checked here, so what
comes out refers to nothing that is not there.
"""

from collections.abc import Iterator
from collections.abc import Mapping as Dictionary
from typing import Final

from sidecar.core.ids import check_action, check_name, check_type, pascal_case
from sidecar.core.instants import parse_utc, utc_text
from sidecar.core.limits import QUANTITIES_MAX, RESERVATION_TTL_SECONDS_DEFAULT
from sidecar.core.model import AuthorizeRequest, ResourceRef
from sidecar.core.reasons import CODES
from sidecar.core.schema import SchemaModel
from sidecar.replica.policy_test_budgets import currency
from sidecar.replica.policy_test_fields import Fields, at, filled, listed, scalar
from sidecar.replica.policy_test_setting import SETTING_KEYS, category, data, read_setting, wire_types
from sidecar.replica.yaml_tree import Listing, Mapping, Node, Place, Scalar, laid_over, read_tree
from sidecar.service.policy_test_findings import CHECK_FIELDS, FIGURES, INSTANT_FIELDS, REASON_FIELDS, Expected
from sidecar.service.policy_test_findings import Fields as Wanted
from sidecar.service.policy_tests import Case, Setting, Step

NOW: Final = "2026-01-01T12:00:00Z"
"""The time of a test that says none: a Thursday."""

SHOWN_MAX: Final = 60
"""Characters of one parameter that the name of a row shows."""

_DEFAULTS: Final = SETTING_KEYS | {"now", "request"}
_FILE: Final = _DEFAULTS | {"description", "tests"}
_TEST: Final = _DEFAULTS | {"name", "description", "expect", "steps", "parameters"}
_STEP: Final = frozenset({"name", "now", "request", "expect"})
_REQUEST: Final = frozenset({"identity", "action", "resource", "context", "card", "reservation_ttl_seconds"})
_RESOURCE: Final = frozenset({"type", "id", "amount", "currency", "merchant_category", "quantities", "attributes"})
_EXPECT: Final = frozenset({"decision", "reasons", "reasons_include", "budgets"})
_DECISIONS: Final = ("allow", "deny")
_CODES: Final = frozenset({"permitted", *CODES})


def read_cases(text: str, file: str, tenant_id: str, schema: SchemaModel) -> Iterator[Case]:
    """Yield the cases of one file, those of a table row by row.

    ``tenant_id`` is the tenant of a file that names none. Raises ConfigurationInvalid, naming file, line and column of
    the first mistake.
    """
    reader = _File(Fields(read_tree(text, file), "a test file", _FILE), tenant_id, schema)
    taken: dict[str, Place] = {}
    tests = reader.top.items("tests")
    if not tests:
        reader.top.place.refuse("the file has no tests, expected some under `tests`")
    for node in tests:
        for name, place, case in reader.cases(node):
            if name in taken:
                place.refuse(f"two tests are called `{name}`, the first in line {taken[name].line}")
            taken[name] = place
            yield case


class _File:
    """One file: what all of its tests share."""

    def __init__(self, top: Fields, tenant_id: str, schema: SchemaModel) -> None:
        self.top = top
        self._tenant_id = tenant_id
        self._schema = schema
        self._setting = read_setting(top, tenant_id, schema)

    def cases(self, node: Node) -> Iterator[tuple[str, Place, Case]]:
        test = Fields(node, "a test", _TEST)
        title = scalar(test.need("name"), "`name`")
        rows = test.node("parameters")
        if rows is None:
            yield _title(title.text, title.place), test.place, self._case(test, title.text)
            return
        own = None
        for place, row in _rows(rows):
            put = filled(_without(node, "parameters"), row)
            fields = Fields(put, "a test", _TEST)
            own = own if own is not None and not _sets(node, row) else self._own(fields)
            name = _title(fields.text("name") or "", title.place)
            if name == title.text:
                name = f"{name} [{', '.join(f'{key}: {_told(value)}' for key, value in row.items())}]"
            yield name, place, self._case(fields, name, place, own)

    def _own(self, test: Fields) -> Setting:
        """Return the tenant of one test: that of the file where the test changes nothing of it."""
        changed = {key: laid_over(self.top.node(key), test.node(key)) for key in SETTING_KEYS}
        if all(test.node(key) is None for key in SETTING_KEYS):
            return self._setting
        entries = {key: node for key, node in changed.items() if node is not None}
        whole = Mapping(entries, {key: node.place for key, node in entries.items()}, test.place)
        return read_setting(Fields(whole, "a test", SETTING_KEYS), self._tenant_id, self._schema)

    def _case(self, test: Fields, name: str, place: Place | None = None, own: Setting | None = None) -> Case:
        setting = self._own(test) if own is None else own
        now_us = test.instant("now")
        if now_us is None:
            now_us = self.top.instant("now")
        if now_us is None:
            now_us = parse_utc(NOW, "now")
        base = laid_over(self.top.node("request"), test.node("request"))
        where = test.place if place is None else place
        if test.node("steps") is None:
            step = self._step("", where, base, test.need("expect"), setting, now_us)
            return Case(name, str(where), setting, (step,))
        if test.node("expect") is not None:
            test.place_of("expect").refuse("a test with `steps` expects in each of them, not by itself")
        steps = []
        for number, node in enumerate(test.items("steps"), start=1):
            fields = Fields(node, "a step", _STEP)
            later_us = fields.instant("now")
            if later_us is not None and later_us < now_us:
                fields.place_of("now").refuse("a step is not earlier than the one before it")
            now_us = now_us if later_us is None else later_us
            asked = laid_over(base, fields.node("request"))
            label = fields.text("name") or f"step {number}"
            steps.append(self._step(label, fields.place, asked, fields.need("expect"), setting, now_us))
        if not steps:
            test.place_of("steps").refuse("`steps` has at least one step")
        return Case(name, str(where), setting, tuple(steps))

    def _step(self, name: str, place: Place, request: Node | None, expect: Node, setting: Setting, now_us: int) -> Step:
        if request is None:
            place.refuse("the test needs a `request`")
        asked = _request(Fields(request, "a request", _REQUEST), setting, self._schema)
        return Step(name, str(place), asked, now_us, _expected(expect, setting))


def _title(name: str, place: Place) -> str:
    with at(place):
        return check_name(name, "name")


def _without(node: Node, key: str) -> Node:
    if not isinstance(node, Mapping):
        return node
    return Mapping({k: v for k, v in node.entries.items() if k != key}, node.keys, node.place)


def _sets(node: Node, row: Dictionary[str, Node]) -> bool:
    """Whether a row of a table changes the tenant of its test."""
    entries = node.entries if isinstance(node, Mapping) else {}
    return any(filled(entries[key], row) is not entries[key] for key in SETTING_KEYS if key in entries)


def _rows(node: Node) -> Iterator[tuple[Place, dict[str, Node]]]:
    """Yield the rows of a table: mappings with the same keys, or lists behind a first one that has the names."""
    if not isinstance(node, Listing) or not node.items:
        node.place.refuse("`parameters` is a list of rows: mappings, or lists of which the first has the names")
    first = node.items[0]
    if isinstance(first, Listing):
        names = [scalar(item, "the name of a parameter").text for item in first.items]
        if len(set(names)) < len(names) or len(node.items) == 1:
            first.place.refuse("the first row has the names, each once, and the others the values")
        for row in node.items[1:]:
            if not isinstance(row, Listing) or len(row.items) != len(names):
                row.place.refuse(f"a row has {len(names)} values, one for each of {listed(frozenset(names))}")
            yield row.place, dict(zip(names, row.items, strict=True))
        return
    for row in node.items:
        if not isinstance(row, Mapping) or (isinstance(first, Mapping) and row.entries.keys() != first.entries.keys()):
            row.place.refuse("every row is a mapping with the keys of the first one; `~` says nothing is given")
        yield row.place, row.entries


def _told(node: Node) -> str:
    match node:
        case Scalar():
            return node.text if len(node.text) <= SHOWN_MAX else f"{node.text[:SHOWN_MAX]}…"
        case Listing():
            return f"[{', '.join(_told(item) for item in node.items)}]"
        case _:
            return f"{{{', '.join(f'{key}: {_told(item)}' for key, item in node.entries.items())}}}"


def _request(fields: Fields, setting: Setting, schema: SchemaModel) -> AuthorizeRequest:
    fields.need("identity")
    identities = frozenset(each.identity_id for each in setting.identities)
    identity = fields.known("identity", identities, "identity") or ""
    action = scalar(fields.need("action"), "`action`").text
    with at(fields.place_of("action")):
        check_action(action, "action")
    if action not in schema.actions or not schema.actions[action].can_be_asked:
        known_actions = frozenset(each.name for each in schema.actions.values() if each.can_be_asked)
        fields.place_of("action").refuse(f"the schema knows no action `{action}`, only {listed(known_actions)}")
    resource = Fields(fields.need("resource"), "a resource", _RESOURCE)
    ref = _reference(resource, schema)
    amount, currency_code = resource.amount("amount"), currency(resource)
    amount_minor = None
    if amount is not None and currency_code is not None:
        with at(resource.place_of("amount")):
            amount_minor = amount.minor(currency_code, "amount")
    elif amount is not None:
        resource.place_of("amount").refuse("an amount and its currency are given together")
    else:
        currency_code = None  # a file may have a currency for all of its tests, also for those without an amount
    ttl = fields.amount("reservation_ttl_seconds")
    with at(fields.place_of("reservation_ttl_seconds")):
        ttl_seconds = RESERVATION_TTL_SECONDS_DEFAULT if ttl is None else ttl.integer("reservation_ttl_seconds")
    return AuthorizeRequest(
        identity_id=identity,
        action=action,
        resource=ref,
        amount_minor=amount_minor,
        currency=currency_code,
        merchant_category=category(resource, "merchant_category"),
        quantities=_quantities(resource),
        attributes=data(resource, "attributes"),
        context=data(fields, "context"),
        card_id=fields.known("card", frozenset(each.card_id for each in setting.cards), "card"),
        ttl_seconds=ttl_seconds,
    )


def _reference(fields: Fields, schema: SchemaModel) -> ResourceRef:
    type_name = scalar(fields.need("type"), "`type`").text
    with at(fields.place_of("type")):
        check_type(type_name, "type")
    if pascal_case(type_name) not in schema.entity_types:
        fields.place_of("type").refuse(
            f"the schema declares no resource type `{type_name}`, only {listed(wire_types(schema.entity_types))}"
        )
    name = scalar(fields.need("id"), "`id`").text
    with at(fields.place_of("id")):
        return ResourceRef(type_name, check_name(name, "id"))


def _quantities(resource: Fields) -> dict[str, int]:
    names = frozenset(resource.mapping("quantities"))
    if not names:
        return {}
    if len(names) > QUANTITIES_MAX or names & {"amount", "count"}:
        resource.place_of("quantities").refuse(f"at most {QUANTITIES_MAX} quantities, none called `amount` or `count`")
    fields = Fields(resource.need("quantities"), "`quantities`", names)
    found: dict[str, int] = {}
    for name in resource.mapping("quantities"):
        figure = fields.amount(name)
        with at(fields.place_of(name)):
            if figure is not None:
                found[check_type(name, name)] = figure.integer(name)
    return found


def _expected(node: Node, setting: Setting) -> Expected:
    if isinstance(node, Scalar):
        node = Mapping({"decision": node}, {"decision": node.place}, node.place)
    fields = Fields(node, "`expect`", _EXPECT)
    fields.need("decision")
    reasons = None if fields.node("reasons") is None else tuple(_reason(each) for each in fields.items("reasons"))
    checks: dict[str, Wanted] = {}
    budgets = frozenset(budget.budget_id for budget in setting.budgets)
    for budget_id, check in fields.mapping("budgets").items():
        if budget_id not in budgets:
            check.place.refuse(f"unknown budget `{budget_id}`, the test has {listed(budgets) or 'none'}")
        checks[budget_id] = _wanted(check, "a budget's check", CHECK_FIELDS)
    return Expected(
        decision=fields.choice("decision", _DECISIONS, ""),
        reasons=reasons,
        includes=tuple(_reason(each) for each in fields.items("reasons_include")),
        budgets=checks,
    )


def _reason(node: Node) -> Wanted:
    wanted = _wanted(node, "a reason", REASON_FIELDS)
    code = wanted.get("code")
    if code is not None and code not in _CODES:
        Fields(node, "a reason", REASON_FIELDS).place_of("code").refuse(
            f"`code` is one of {listed(_CODES)}, got `{code}`"
        )
    return wanted


def _wanted(node: Node, what: str, allowed: frozenset[str]) -> Wanted:
    """Return the fields that are to be compared; a null says that nothing must be there."""
    fields = Fields(node, what, allowed)
    found: Wanted = {}
    for name, value in node.entries.items() if isinstance(node, Mapping) else ():
        one = scalar(value, f"`{name}`")
        if one.is_null:
            found[name] = None
        elif name in INSTANT_FIELDS:
            found[name] = utc_text(fields.instant(name) or 0)
        elif name in FIGURES:
            found[name] = (fields.amount(name) or one).text
        else:
            found[name] = one.text
    return found
