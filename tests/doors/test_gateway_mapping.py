"""The table `http` of a mapping file: what it may say, what is refused, and what a request is by it."""

import tomllib
from collections.abc import Mapping

import pytest

from sidecar.core.errors import ConfigurationInvalid, Forbidden, SidecarError, Unauthenticated, ValidationFailed
from sidecar.core.model import AuthorizeRequest
from sidecar.doors.gateway.mapping import ROUTES_MAX, HttpMapping
from sidecar.doors.gateway.seen import HEADER_BYTES_MAX, Asked, SeenRequest, draft, is_public, read_headers

TOKEN = 'identity = {from = "token"}\n'
ROUTE = (
    '[[routes]]\nmatch = {path = "/v1/tools/{tool}"}\naction = "tool.call"\nresource = {type = "tool", id = "{tool}"}\n'
)
PUBLIC = '[[routes]]\nmatch = {path = "/healthz"}\npublic = true\n'


def mapping(text: str) -> HttpMapping:
    """Read a table."""
    return HttpMapping.read(tomllib.loads(text))


def seen(
    target: str = "/v1/tools/search", method: str = "POST", host: str | None = None, **headers: str
) -> SeenRequest:
    """A request; underscores in names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return SeenRequest(method, host, target, named)


def request(text: str, asked: SeenRequest) -> AuthorizeRequest:
    """Return what is asked by a mapping."""
    found = draft(mapping(text), asked).request
    assert found is not None
    return found


# --- Reading the file -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("routes = []", "http.identity: object missing required field `identity`"),
        ("typo = 1\n" + TOKEN, "http.typo: object contains unknown field `typo`"),
        ('identity = {from = "guess"}', "http.identity.from: "),
        ('identity = {from = "header", header = "X-Agent"}', "http.identity.header: not a header"),
        ('identity = {from = "header", header = "x_agent"}', "http.identity.header: not a header"),
        ('identity = {from = "token", external_id = true}', "http.identity.external_id: "),
        ('credential_header = "x-key"\n' + TOKEN, "http.credential_header: "),
        ('credential_header = "x key"\nidentity = {from = "header"}', "http.credential_header: not a header"),
        (
            'credential_header = "x-agent-id"\nidentity = {from = "header"}',
            "http.credential_header: `x-agent-id` names",
        ),
        ('forward_auth = {headers = "both"}\n' + TOKEN, "http.forward_auth.headers: "),
        (TOKEN + ROUTE + "typo = 1", "http.routes[0].typo: "),
        (TOKEN + PUBLIC + ROUTE.replace("path", "Path"), "http.routes[1].match."),
        (TOKEN + ROUTE.replace("/v1", "v1"), "http.routes[0].match.path: must begin with `/`"),
        (TOKEN + ROUTE.replace("/v1", "//v1"), "http.routes[0].match.path: has an empty segment"),
        (TOKEN + ROUTE.replace("/v1", "/.."), "http.routes[0].match.path: has a segment that no path can have"),
        (TOKEN + ROUTE.replace("/v1", "/a%20b"), "http.routes[0].match.path: has a segment that no path can have"),
        (TOKEN + ROUTE.replace("/{tool}", "/x{tool}"), "http.routes[0].match.path: a place such as"),
        (TOKEN + ROUTE.replace("/{tool}", "/{Tool}"), "http.routes[0].match.path: a place such as"),
        (TOKEN + ROUTE.replace("/{tool}", "/{tool}/{tool}"), "http.routes[0].match.path: `{tool}` is a name in use"),
        (TOKEN + ROUTE.replace("/{tool}", "/{host}"), "http.routes[0].match.path: `{host}` is a name in use"),
        (TOKEN + ROUTE.replace("/{tool}", "/{tool*}/x"), "http.routes[0].match.path: `{tool*}` takes the rest"),
        (TOKEN + ROUTE.replace("/v1/tools", "/"), "http.routes[0].match.path: has an empty segment"),
        (TOKEN + ROUTE.replace("/v1/tools/{tool}", "//{tool*}"), "http.routes[0].match.path: has an empty segment"),
        (TOKEN + ROUTE.replace('"}\na', '", host = "A.com"}\na'), "http.routes[0].match.host: is no host"),
        (TOKEN + ROUTE.replace('"}\na', '", host = "a.com:80"}\na'), "http.routes[0].match.host: is no host"),
        (TOKEN + ROUTE.replace('"}\na', '", host = "*"}\na'), "http.routes[0].match.host: is no host"),
        (TOKEN + ROUTE.replace('"}\na', '", methods = []}\na'), "http.routes[0].match.methods: "),
        (TOKEN + ROUTE.replace('"}\na', '", methods = ["get"]}\na'), "http.routes[0].match.methods: "),
        (TOKEN + ROUTE + 'name = ""', "http.routes[0].name: not a name"),
        (TOKEN + ROUTE + "public = true", "http.routes[0]: a public route asks nothing"),
        (TOKEN + PUBLIC.replace("public = true", ""), "http.routes[0]: `action` is missing"),
        (TOKEN + PUBLIC.replace("public = true", 'action = "a"'), "http.routes[0]: `resource` is missing"),
        (TOKEN + ROUTE.replace("tool.call", "tool call"), "http.routes[0].action: not an action"),
        (TOKEN + ROUTE.replace("tool.call", "{verb}"), "http.routes[0].action: nothing fills `{verb}`"),
        (TOKEN + ROUTE.replace("tool.call", "{header:X-A}"), "http.routes[0].action: `{header:X-A}` names no header"),
        (TOKEN + ROUTE.replace("tool.call", "a}"), "http.routes[0].action: has a brace"),
        (TOKEN + ROUTE.replace('"tool",', '"Tool",'), "http.routes[0].resource.type: not a type"),
        (TOKEN + ROUTE.replace("}\n", ", name = 1}\n"), "http.routes[0].match.name: "),
        (TOKEN + ROUTE.replace('id = "{tool}"', 'id = "{t}"'), "http.routes[0].resource.id: nothing fills `{t}`"),
        (TOKEN + ROUTE + 'amount = "{header:x-amount}"', "http.routes[0].currency: "),
        (TOKEN + ROUTE + 'currency = "CAD"', "http.routes[0].amount: "),
        (TOKEN + ROUTE + 'quantities = {count = "1"}', "http.routes[0].quantities: `count` is no quantity"),
        (TOKEN + ROUTE + 'quantities = {Tokens = "1"}', "http.routes[0].quantities: not a type"),
        (TOKEN + ROUTE + 'quantities = {tokens = "{n}"}', "http.routes[0].quantities.tokens: nothing fills"),
        (
            TOKEN + ROUTE + "quantities = {" + ", ".join(f'q{n} = "1"' for n in range(17)) + "}",
            "http.routes[0].quantities: at most 16",
        ),
        (TOKEN + ROUTE + 'settle = "later"', "http.routes[0].settle: "),
        (TOKEN + ROUTE + 'settle = "never"', "http.routes[0].settle: "),
        (TOKEN + ROUTE + "context = {share = 0.5}", "http.routes[0].context.share: "),
        (TOKEN + ROUTE + "context = {day = 2026-01-01}", "http.routes[0].context.day: "),
        (TOKEN + ROUTE + 'context = {__entity = "a"}', "http.routes[0].context: the key `__entity`"),
        (TOKEN + ROUTE + 'context = {a = {value = "b", typ = "c"}}', "http.routes[0].context.a: expected a constant"),
        (TOKEN + ROUTE + 'context = {a = {value = "{b}"}}', "http.routes[0].context.a: nothing fills"),
        (TOKEN + ROUTE * (ROUTES_MAX + 1), "http.routes: 1001 routes"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        mapping(text)
    assert refused.value.message.startswith(place), refused.value.message
    assert "\n" not in refused.value.message


def test_without_a_table_nothing_is_let_through() -> None:
    empty = HttpMapping.read({})
    assert empty.identity.is_token
    with pytest.raises(Forbidden, match="no route"):
        draft(empty, seen())


# --- Routes -----------------------------------------------------------------------------------------------------------


def test_the_first_route_that_matches_counts() -> None:
    text = TOKEN + ROUTE.replace("{tool}", "search", 1).replace("{tool}", "first") + ROUTE
    assert request(text, seen("/v1/tools/search")).resource.id == "first"
    assert request(text, seen("/v1/tools/fetch")).resource.id == "fetch"


@pytest.mark.parametrize(
    "target", ["/", "/v1/tools", "/v1/tools/", "/v1/tools/a/", "/v1/tools/a/b", "/v2/tools/a", "/V1/tools/a"]
)
def test_what_no_route_matches_is_not_let_through(target: str) -> None:
    with pytest.raises(Forbidden, match="no route"):
        draft(mapping(TOKEN + ROUTE), seen(target))


def test_a_route_may_end_with_a_slash_and_is_another_one_then() -> None:
    text = TOKEN + ROUTE.replace("{tool}", "{tool}/", 1)
    assert request(text, seen("/v1/tools/a/")).resource.id == "a"
    with pytest.raises(Forbidden):
        draft(mapping(text), seen("/v1/tools/a"))


def test_a_capture_may_take_the_rest_of_a_path() -> None:
    text = TOKEN + ROUTE.replace("{tool}", "{tool*}", 1)
    assert request(text, seen("/v1/tools/a")).resource.id == "a"
    assert request(text, seen("/v1/tools/a/b%20c?d")).resource.id == "a/b c"
    for target in ("/v1/tools", "/v1/tools/", "/v1/tools/a/"):
        with pytest.raises(Forbidden):
            draft(mapping(text), seen(target))


def test_a_route_may_be_of_some_methods() -> None:
    text = TOKEN + ROUTE.replace('"}\na', '", methods = ["GET", "M-SEARCH"]}\na')
    assert request(text, seen(method="GET")).action == "tool.call"
    with pytest.raises(Forbidden):
        draft(mapping(text), seen(method="POST"))
    with pytest.raises(ValidationFailed, match="method"):
        draft(mapping(text), seen(method="get"))


@pytest.mark.parametrize(
    ("wanted", "host", "matches"),
    [
        ("api.example.com", "API.example.com:8443", True),
        ("api.example.com", "example.com", False),
        ("*.example.com", "a.b.example.com.", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
    ],
)
def test_a_route_may_be_of_a_host(wanted: str, host: str, matches: bool) -> None:  # noqa: FBT001
    read = mapping(TOKEN + ROUTE.replace('"}\na', f'", host = "{wanted}"}}\na'))
    if matches:
        assert draft(read, seen(host=host)).request is not None
    else:
        with pytest.raises(Forbidden):
            draft(read, seen(host=host))


def test_where_a_host_matters_a_proxy_must_say_it() -> None:
    read = mapping(TOKEN + ROUTE.replace('"}\na', '", host = "a.com"}\na') + ROUTE)
    for host in (None, "a.com,b.com"):
        with pytest.raises(ValidationFailed):
            draft(read, seen(host=host))
    assert mapping(TOKEN + ROUTE.replace('"tool.call"', '"{host}"')).needs_host
    assert not mapping(TOKEN + ROUTE).needs_host


def test_public_routes_ask_nothing() -> None:
    read = mapping('identity = {from = "header"}\n' + PUBLIC + ROUTE)
    assert draft(read, seen("/healthz")) == Asked(read.routes[0])
    assert is_public(read, seen("/healthz"))
    assert not is_public(read, seen())
    assert not is_public(read, seen("/../healthz"))
    assert not is_public(read, seen("/nowhere"))
    assert not is_public(mapping(TOKEN + ROUTE), seen("/healthz"))


# --- Templates --------------------------------------------------------------------------------------------------------


def test_everything_of_a_request_can_be_shown() -> None:
    text = (
        TOKEN
        + ROUTE.replace('"tool.call"', '"http.{method}"').replace('id = "{tool}"', 'id = "{host}{path}#{tool}"')
        + 'context = {purpose = "for {header:x-purpose}"}\n'
        + 'merchant_category = "{header:x-mcc}"\ncard_id = "{header:x-card}"\n'
        + 'amount = "{header:x-amount}"\ncurrency = "{header:x-currency}"\n'
        + 'quantities = {tokens = "{header:x-tokens}"}\nsettle = "later"\n'
    )
    headers = {"x-purpose": "tea", "x-mcc": "7372", "x-card": "card_1"}
    headers |= {"x-amount": "10.50", "x-currency": "CAD", "x-tokens": "7"}
    read = mapping(text)
    assert read.headers == set(headers)
    asked = draft(read, SeenRequest("GET", "a.com", "/v1/tools/x%20y?z", headers))
    assert asked.request == AuthorizeRequest(
        identity_id="",
        action="http.GET",
        resource=asked.request.resource if asked.request else None,  # type: ignore[arg-type]
        amount_minor=1050,
        currency="CAD",
        merchant_category="7372",
        quantities={"tokens": 7},
        context={"purpose": "for tea"},
        card_id="card_1",
        ttl_seconds=604_800,
    )
    assert asked.request.resource.id == "a.com/v1/tools/x y#x y"
    assert not asked.settles_at_once


def test_amounts_are_settled_at_once_unless_said() -> None:
    assert draft(mapping(TOKEN + ROUTE + 'amount = "1"\ncurrency = "CAD"'), seen()).settles_at_once
    assert not draft(mapping(TOKEN + ROUTE), seen()).settles_at_once
    assert not draft(mapping(TOKEN + PUBLIC), seen("/healthz")).settles_at_once


ATTRIBUTES = ROUTE.replace(
    'id = "{tool}"}',
    'id = "{tool}", attributes = {s = "{header:x-s}", fixed = [1, "a"], yes = true,'
    ' n = {value = "{header:x-n}", type = "integer", optional = true},'
    ' b = {value = "{header:x-b}", type = "boolean", optional = true}}}',
)


def test_attributes_have_types() -> None:
    found = request(TOKEN + ATTRIBUTES, seen(x_s="text", x_n="-12", x_b="true"))
    assert found.attributes == {"s": "text", "fixed": [1, "a"], "yes": True, "n": -12, "b": True}
    assert request(TOKEN + ATTRIBUTES, seen(x_s="", x_b="false")).attributes == {
        "s": "",
        "fixed": [1, "a"],
        "yes": True,
        "b": False,
    }


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({}, "resource.attributes.s"),
        ({"x_s": "a", "x_n": "1.0"}, "resource.attributes.n"),
        ({"x_s": "a", "x_n": "01"}, "resource.attributes.n"),
        ({"x_s": "a", "x_n": "9" * 19}, "resource.attributes.n"),
        ({"x_s": "a", "x_b": "True"}, "resource.attributes.b"),
    ],
)
def test_what_is_missing_or_of_another_type_is_refused(headers: Mapping[str, str], field: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        draft(mapping(TOKEN + ATTRIBUTES), seen(**headers))
    assert refused.value.field == field


PRICED = (
    TOKEN
    + ROUTE
    + 'amount = "{header:x-amount}"\ncurrency = "{header:x-currency}"\nquantities = {tokens = "{header:x-tokens}"}\n'
    + 'merchant_category = "{header:x-mcc}"\ncard_id = "{header:x-card}"\n'
)
GOOD = {"x_amount": "1.50", "x_currency": "CAD", "x_tokens": "3", "x_mcc": "7372", "x_card": "card_1"}


@pytest.mark.parametrize(
    ("header", "value", "field"),
    [
        ("x_amount", None, "resource.amount"),
        ("x_amount", "", "resource.amount"),
        ("x_amount", "1e3", "resource.amount"),
        ("x_amount", "1.234", "resource.amount"),
        ("x_amount", "-1", "resource.amount"),
        ("x_currency", None, "resource.currency"),
        ("x_currency", "XXX", "resource.currency"),
        ("x_tokens", None, "quantities.tokens"),
        ("x_tokens", "1.5", "quantities.tokens"),
        ("x_mcc", "73", "merchant_category"),
        ("x_card", "a b", "card_id"),
    ],
)
def test_an_amount_that_is_missing_or_no_amount_is_refused(header: str, value: str | None, field: str) -> None:
    assert request(PRICED, seen(**GOOD)).amount_minor == 150
    headers = {name: each for name, each in (GOOD | {header: value}).items() if each is not None}
    with pytest.raises(ValidationFailed) as refused:
        draft(mapping(PRICED), seen(**headers))
    assert refused.value.field == field


@pytest.mark.parametrize(("target", "action"), [("/v1/tools/a%E2%80%A8b", "{method}"), ("/v1/tools/a%20b", "{tool}")])
def test_what_a_path_fills_in_must_pass_its_grammar(target: str, action: str) -> None:
    with pytest.raises(ValidationFailed):
        draft(mapping(TOKEN + ROUTE.replace('"tool.call"', f'"{action}"')), seen(target))


# --- Who asks ---------------------------------------------------------------------------------------------------------


def test_a_proxy_may_name_who_asks() -> None:
    read = mapping('identity = {from = "header"}\n' + ROUTE)
    assert (read.credential_header, read.identity.header) == ("x-sidecar-authorization", "x-agent-id")
    assert draft(read, seen(x_agent_id="id_1")).identity == "id_1"
    assert draft(mapping(TOKEN + ROUTE), seen()).identity is None


@pytest.mark.parametrize(
    ("named", "error"),
    [
        (None, Unauthenticated),
        ("", Unauthenticated),
        ("id_1, id_2", ValidationFailed),
        ("id_1,id_2", ValidationFailed),
        ("../x", ValidationFailed),
    ],
)
def test_a_proxy_that_names_nobody_or_two_is_refused(named: str | None, error: type[SidecarError]) -> None:
    headers = {} if named is None else {"x_agent_id": named}
    with pytest.raises(error):
        draft(mapping('identity = {from = "header"}\n' + ROUTE), seen(**headers))


def test_an_external_id_is_a_name() -> None:
    read = mapping('identity = {from = "header", header = "x-user", external_id = true}\n' + ROUTE)
    assert draft(read, seen(x_user="Ann Lee <ann@example.com>")).identity == "Ann Lee <ann@example.com>"
    with pytest.raises(ValidationFailed):
        draft(read, seen(x_user="a" * 513))


# --- Headers ----------------------------------------------------------------------------------------------------------


def test_headers_are_read_where_they_came() -> None:
    came = {"x-a": [b"1"], "x-b": []}
    assert read_headers(frozenset(came), lambda name: came[name]) == {"x-a": "1"}


@pytest.mark.parametrize(
    "values", [[b"a", b"a"], [b"a", b"b"], [b"\xc3\xa9"], [b"a\x00"], [b"a\tb"], [b"a" * (HEADER_BYTES_MAX + 1)]]
)
def test_a_header_that_can_be_read_in_two_ways_is_refused(values: list[bytes]) -> None:
    with pytest.raises(ValidationFailed, match="the header `x-a`"):
        read_headers(frozenset({"x-a"}), lambda _name: values)
