"""The API description and what is served: the same paths, methods, parameters, bodies and answers; and the page."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from starlette.routing import Route

from sidecar.core.errors import SidecarError
from sidecar.doors.native.examples import EXAMPLES
from sidecar.doors.native.openapi import TAGS
from sidecar.doors.wire.endpoint import Call, Endpoint
from sidecar.doors.wire.http import STATUS
from sidecar.doors.wire.openapi import Example, key_of, statuses_of
from tests.core.authenticator import Authenticator
from tests.doors.contract import NOT_DESCRIBED, Contract, Operation
from tests.doors.door import Door
from tests.process.server import OPERATOR, Answer, Document


@pytest.fixture(scope="module")
def contract(door: Door) -> Contract:
    """The description."""
    return door.contract


@pytest.fixture(scope="module")
def calls(door: Door) -> dict[str, Call]:
    """What the application serves, by method and path, aliases by their own."""
    return dict(_served(door))


def _served(door: Door) -> Iterator[tuple[str, Call]]:
    for route in door.routes():
        assert isinstance(route, Route)
        endpoint = route.endpoint
        assert isinstance(endpoint, Endpoint)
        for method, call in endpoint.calls.items():
            yield f"{method} {route.path}", call


def described(contract: Contract) -> dict[str, Operation]:
    """Return what is described, by method and path."""
    return {f"{operation.method} {operation.path}": operation for operation in contract.operations()}


# --- The description is what is served --------------------------------------------------------------------------------


def test_what_is_served_is_described_and_the_other_way_round(contract: Contract, calls: Mapping[str, Call]) -> None:
    served = {name for name in calls if not name.partition(" ")[2].startswith(NOT_DESCRIBED)}
    assert set(described(contract)) == served
    assert {calls[name].is_documented for name in served} == {True}


def test_every_parameter_is_described_and_no_other(contract: Contract, calls: Mapping[str, Call]) -> None:
    """Path, query and header; each with words of its own (`doors/native/parameters.py`)."""
    for name, operation in described(contract).items():
        call = calls[name]
        taken = {place: contract.parameters(operation, place) for place in ("path", "query", "header")}
        names = {place: {said["name"] for said in found} for place, found in taken.items()}
        assert names["path"] == set(re.findall(r"\{(\w+)\}", operation.path)), name
        tenant = {"tenant_id"} if call.names_tenant and not call.is_open else set[str]()
        assert names["query"] == call.query | tenant, name
        keys = {"Idempotency-Key"} if call.is_idempotent else set[str]()
        assert names["header"] == {"X-Request-Id"} | keys, name
        for said in (*taken["path"], *taken["query"], *taken["header"]):
            assert said.get("description") or said["schema"].get("description"), f"{name}: say what {said} is"


def test_a_body_is_described_by_the_type_that_reads_it(contract: Contract, calls: Mapping[str, Call]) -> None:
    """The fields, those that are required, and that no others are taken."""
    schemas = contract.description["components"]["schemas"]
    for name, operation in described(contract).items():
        request = calls[name].request
        assert ("requestBody" in operation.said) == (request is not None), name
        if request is None:
            continue
        fields = msgspec.structs.fields(request)
        schema = schemas[request.__name__]
        assert set(schema["properties"]) == {field.encode_name for field in fields}, name
        required = {field.encode_name for field in fields if field.required}
        assert set(schema["required"]) == required, name
        assert operation.said["requestBody"]["required"] == bool(required), name
        assert schema["additionalProperties"] is False, name


def test_every_call_says_what_it_is(contract: Contract, calls: Mapping[str, Call]) -> None:
    """A sentence, a group that is explained, a name of its own, an answer with a type, and what goes wrong."""
    names: dict[str, str] = {}
    for name, operation in described(contract).items():
        call, said = calls[name], operation.said
        assert said["summary"].endswith((".", "`")), f"{name}: its function needs a docstring"
        assert set(said["tags"]) <= set(TAGS), f"{name}: explain {said['tags']} in `doors/native/openapi.py`"
        same = names.setdefault(said["operationId"], name)
        assert same == name, f"{name} and {same}: set `operation` of one of the calls"
        assert (call.status == 204) == (call.answer is None), f"{name}: set `answer` of the call"
        wanted = {str(status) for status in (call.status, *call.further, *statuses_of(call))}
        assert set(said["responses"]) == wanted, name
        assert ("security" in said) == call.is_open, name


def test_every_error_has_its_status_and_its_type(contract: Contract) -> None:
    """Each error of the family that the wire shows, with what a client needs to go on."""
    said = contract.description["components"]
    types = set(said["schemas"]["Error"]["properties"]["type"]["enum"])
    assert types == set(STATUS) - {"store_unusable", "configuration_invalid"}
    assert {kind.code for kind in _family(SidecarError)} == set(STATUS)
    for status in set(STATUS.values()):
        assert f"Error{status}" in said["responses"]
    assert set(said["responses"]["Error503"]["headers"]) == {"X-Request-Id", "Retry-After"}
    assert set(said["responses"]["Error401"]["headers"]) == {"X-Request-Id", "WWW-Authenticate"}
    assert set(said["responses"]["Error405"]["headers"]) == {"X-Request-Id", "Allow"}


def _family(kind: type[SidecarError]) -> Iterator[type[SidecarError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


def test_every_schema_is_one(contract: Contract) -> None:
    """JSON Schema 2020-12, and every reference leads somewhere."""
    whole = contract.description
    assert whole["openapi"].startswith("3.1.")
    for schema in whole["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema)
    for reference in set(re.findall(r'"\$ref":\s*"#/([^"]+)"', json.dumps(whole))):
        found: Any = whole
        for part in reference.split("/"):
            found = found[part]
        assert found, reference


def test_the_description_is_the_same_each_time_and_needs_no_token(door: Door) -> None:
    first = door.call("GET", "/openapi.json", token=None)
    assert first.status == 200
    assert first.body == door.call("GET", "/openapi.json").body


# --- Examples ---------------------------------------------------------------------------------------------------------

FOUNDING = ("POST /v1/tenants", "POST /v1/identities", "POST /v1/policies", "POST /v1/budgets", "POST /v1/tokens")
CARD = "POST /v1/treasury/cards"
WEBHOOK = "POST /v1/webhooks"
"""The calls whose first example makes the world in which all others are made."""

AUTHORIZE = "POST /v1/authorize"
BATCH = "POST /v1/authorize/batch"
BY_OPERATOR = {"PATCH /v1/tenants/{tenant_id}", "POST /v1/policies/reload"}
SETTLE = "POST /v1/decisions/{decision_id}/settle"
ACCOUNTS = "POST /v1/accounts"
DEPOSIT = "POST /v1/accounts/{account_id}/deposits"
PAYABLE = (("POST /v1/policies", 2), (ACCOUNTS, 1), (ACCOUNTS, 0), (DEPOSIT, 0))
PAYMENT = "POST /v1/payments"
CANCEL = "POST /v1/payments/{payment_id}/cancel"
PASSKEYS, OPTIONS = "POST /v1/passkeys", "POST /v1/passkeys/options"
GRANTS, APPROVE = "POST /v1/grants", "POST /v1/grants/{grant_id}/approve"
SHIP, FOLLOWER = "POST /v1/audit/records", ("POST /v1/tokens", 1)
RESERVE = "POST /v1/reservations"
LET_GO = f"{RESERVE}/{{decision_id}}/cancel"
PROGRAMS = "/v1/treasury/card-programs"
PROGRAM, ONE_PROGRAM = f"POST {PROGRAMS}", f"{PROGRAMS}/{{program_id}}"
GRANTABLE = ((ACCOUNTS, 1), (PASSKEYS, 0))
BEFORE = {
    "POST /v1/decisions/{decision_id}/refund": ((SETTLE, 0),),
    "POST /v1/accounts/{account_id}/withdrawals": ((ACCOUNTS, 0), (DEPOSIT, 0)),
    PAYMENT: PAYABLE,
    "GET /v1/payments": (*PAYABLE, (PAYMENT, 0)),
    "GET /v1/payments/{payment_id}": (*PAYABLE, (PAYMENT, 0)),
    "GET /v1/accounts": ((ACCOUNTS, 0),),
    "GET /v1/accounts/{account_id}": ((ACCOUNTS, 0),),
    DEPOSIT: ((ACCOUNTS, 0),),
    "POST /v1/accounts/{account_id}/close": ((ACCOUNTS, 0),),
    "GET /v1/passkeys": ((PASSKEYS, 0),),
    "GET /v1/passkeys/{passkey_id}": ((PASSKEYS, 0),),
    GRANTS: GRANTABLE,
    "GET /v1/grants": (*GRANTABLE, (GRANTS, 0)),
    "GET /v1/grants/{grant_id}": (*GRANTABLE, (GRANTS, 0)),
    APPROVE: (*GRANTABLE, (GRANTS, 0)),
    "POST /v1/grants/{grant_id}/revoke": (*GRANTABLE, (GRANTS, 0)),
    f"GET {PROGRAMS}": ((PROGRAM, 0),),
    f"GET {ONE_PROGRAM}": ((PROGRAM, 0),),
    f"DELETE {ONE_PROGRAM}": ((PROGRAM, 0),),
    f"POST {ONE_PROGRAM}/rotate": ((PROGRAM, 0),),
    SHIP: (FOLLOWER,),
    RESERVE: (FOLLOWER,),
    LET_GO: (FOLLOWER, (RESERVE, 0)),
    "GET /v1/followers": (FOLLOWER, (SHIP, 0)),
    "GET /v1/followers/{follower_id}": (FOLLOWER, (SHIP, 0)),
}
"""Calls that need others first, each with the number of an example."""

WITHOUT_EXAMPLE = {
    "GET /openapi.json": "it would be itself",
    "GET /metrics": "its figures never repeat",
    "GET /v1/changes": "it holds the texts of all policy files",
    "GET /v1/snapshot": "it is no JSON document but one on each line",
}

SHADOW_POLICY = """\
@id("cards/at-most-40")
forbid (principal, action == Action::"card.authorize", resource) when { context.amount > 4000 };
"""

NEEDS_A_RAIL = {CANCEL}
"""Calls that only make sense on a network whose payments are on their way for a time, which is none built in."""

ANSWERED = {
    (call, example)
    for call, examples in EXAMPLES.items()
    if call not in NEEDS_A_RAIL
    for example in range(len(examples))
}
COUNTED = {
    "revision",
    "entity_revision",
    "tenant_revision",
    "lag_revisions",
    "seq",
    "entries_checked",
    "files",
    "loaded_at",
    "seconds",
}
"""Fields that say how much happened before, or how long something took."""

MASKS = (
    (r"\b(pol|bud|dec|tok|card|wh|evt|acct|pay|grt|pk|cprg)_[0-9A-HJKMNP-TV-Z]{26}\b", r"\1_"),
    (r"\b(sk_live|at_live|fw_live)_[A-Z2-7]{10}(_[0-9A-Za-z]{43}_[0-9A-Za-z]{6})?\b", r"\1_"),
    (r"\bwhsec_[A-Za-z0-9+/=]+", "whsec_"),
    (r"\bsha256:[0-9a-f]{64}\b", "sha256:"),
    (r'"nonce":"[A-Za-z0-9_-]{22}"', "nonce"),
    (r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-])", "hash"),
)


class World:
    """The tenant of the examples, as far as it is founded."""

    def __init__(self, door: Door) -> None:
        """Stand before an empty application."""
        self._door = door
        self._token = self._follower = OPERATOR
        self._ids: dict[str, str] = {}
        self._phone = Authenticator()

    def make(self, name: str, example: Example) -> Answer:
        """Make a call as an example says; the tenant's key is used once there is one."""
        method, _, path = name.partition(" ")
        target = re.sub(r"\{(\w+)\}", lambda match: self._ids[match[1]], path)
        if example.query:
            target = f"{target}?{example.query}"
        token = OPERATOR if name in BY_OPERATOR else self._follower if name in {SHIP, RESERVE, LET_GO} else self._token
        answer = self._door.call(method, target, self._request(name, example), token=token)
        if answer.body:
            ids = {key: value for key, value in answer.document.items() if key.endswith("_id") and value is not None}
            self._ids = ids | self._ids if name == AUTHORIZE else self._ids | ids
            self._token = answer.document.get("api_key", self._token)
            if answer.document.get("kind") == "follower":
                self._follower = answer.document["token"]
                self._ids["follower_id"] = answer.document["token_id"]
        return answer

    def _request(self, name: str, example: Example) -> object:
        """Return what an example sends, with the ids that were made and what an authenticator really answers."""
        request: Any = example.request
        if isinstance(request, dict) and "account_id" in request:
            request = request | {"account_id": self._ids["account_id"]}
        if name == PASSKEYS:
            options = self.make(OPTIONS, EXAMPLES[OPTIONS][0]).document
            request = request | {"credential": msgspec.to_builtins(self._phone.create(options))}
        if name == APPROVE:
            grant = self._door.ok("GET", f"/v1/grants/{self._ids['grant_id']}", token=self._token)
            request = {"credential": msgspec.to_builtins(self._phone.get(grant["approval"]))}
        return request

    def found(self, name: str) -> None:
        """Make what is needed for the call ``name``: what is founded before it, else everything."""
        before = FOUNDING[: FOUNDING.index(name)] if name in FOUNDING else FOUNDING
        alone = name in (*FOUNDING, AUTHORIZE, BATCH, RESERVE, LET_GO) or "/v1/payments" in name
        needed = [*before] if alone else [*before, AUTHORIZE]
        needed += [each for each in (CARD, WEBHOOK) if each != name and f"{each.partition(' ')[2]}" in name]
        if name == "POST /v1/treasury/kill-switch":
            needed.append(CARD)
        for each, number in (*((each, 0) for each in needed), *BEFORE.get(name, ())):
            assert self.make(each, EXAMPLES[each][number]).status < 300, each


def masked(value: object) -> object:
    """Return a document without what differs from run to run."""
    match value:
        case dict():
            return {key: 0 if key in COUNTED else masked(item) for key, item in value.items()}
        case list() | tuple():
            return [masked(item) for item in value]
        case str():
            for pattern, replacement in MASKS:
                value = re.sub(pattern, replacement, value)
            return value
        case _:
            return value


@pytest.mark.parametrize(("name", "number"), sorted(ANSWERED))
def test_an_example_works_as_it_stands(tmp_path: Path, calls: Mapping[str, Call], name: str, number: int) -> None:
    """It gets the documented status, and the answer beside it is the answer that comes."""
    example = EXAMPLES[name][number]
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "cards.cedar").write_text(SHADOW_POLICY)
    with Door(tmp_path, shadow_policies=shadow) as door:
        world = World(door)
        world.found(name)
        door.compare()
        answer = world.make(name, example)
    assert answer.status == calls[name].status, answer
    if example.answer is not None:
        assert masked(json.loads(answer.body)) == masked(json.loads(json.dumps(example.answer)))


def test_every_call_has_an_example(contract: Contract, calls: Mapping[str, Call]) -> None:
    """A request where it takes one, an answer where it gives one; none for a call that is gone."""
    wanted = {key_of(call): call for name, call in calls.items() if name in described(contract)}
    for name, call in wanted.items():
        examples = EXAMPLES.get(name, ())
        if call.request is not None:
            assert any(example.request is not None for example in examples), f"{name}: an example of a request"
        if call.answer is not None and name not in WITHOUT_EXAMPLE:
            assert any(example.answer is not None for example in examples), f"{name}: an example of an answer"
    assert set(EXAMPLES) <= set(wanted)


def test_every_example_fits_its_schema(contract: Contract) -> None:
    """Those of requests, of answers, of errors, and those that stand in schemas."""
    for operation in contract.operations():
        body = operation.said.get("requestBody", {})
        parts = [body, *operation.said["responses"].values(), *contract.description["components"]["responses"].values()]
        for media in (media for part in parts for media in part.get("content", {}).values()):
            for example in media.get("examples", {}).values():
                contract.validate(media["schema"], example["value"], operation.path, closed=True)
    for schema in _with_examples(contract.description):
        for value in schema["examples"]:
            contract.validate(schema, value, "an example in a schema", closed=False)


def _with_examples(node: object) -> Iterator[Document]:
    """Yield the schemas that have examples; those of contents are objects, not lists."""
    children: Iterable[object] = ()
    if isinstance(node, dict):
        if isinstance(node.get("examples"), list):
            yield node
        children = node.values()
    elif isinstance(node, list):
        children = node
    for child in children:
        yield from _with_examples(child)


# --- The page ---------------------------------------------------------------------------------------------------------


def test_the_page_needs_no_other_host_and_runs_no_script_of_its_own(door: Door) -> None:
    """Everything that it loads is served here, whatever is told to cache for ever has its digest in its name."""
    page = door.call("GET", "/docs", token=None)
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[name] for name in ("script-src", "connect-src")} == {"'self'"}
    text = page.body.decode()
    assert "//" not in text
    assert re.findall(r"<script(?![^>]*\bsrc=)", text) == []
    assert re.findall(r"\son\w+=", text) == []
    loaded = re.findall(r'(?:src|href)="(docs/[^"]+)"', text)
    assert {name.rpartition(".")[2] for name in loaded} == {"js", "css", "png"}
    for name in loaded:
        file = door.call("GET", f"/{name}", token=None)
        assert file.status == 200
        assert file.body
        assert "immutable" in file.headers["cache-control"]
        assert file.headers["x-content-type-options"] == "nosniff"
        assert file.headers["content-type"].startswith(("text/javascript", "text/css", "image/png"))
    start = door.call("GET", f"/{loaded[-1]}", token=None).body.decode()
    assert 'url: "openapi.json"' in start
    assert "validatorUrl: null" in start
    assert "http" not in start


@pytest.mark.parametrize("name", ["nothing.js", "..%2F..%2Fetc%2Fpasswd", "swagger-ui.css", "__init__.py"])
def test_no_other_file_is_served(door: Door, name: str) -> None:
    assert door.call("GET", f"/docs/{name}", token=None).status == 404
