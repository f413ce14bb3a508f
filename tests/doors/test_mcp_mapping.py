"""How the table ``mcp`` of a mapping file makes requests of tool calls."""

import tomllib
from typing import Any

import pytest

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.model import AuthorizeRequest
from sidecar.doors.mcp.drafts import Probe, ToolCall, probe_of, request_of
from sidecar.doors.mcp.mapping import TOOLS_MAX, Tools, read_tools
from sidecar.doors.mcp.paths import PATH_LENGTH_MAX, place
from sidecar.doors.wire import strict_json
from tests.process.server import ROOT


def tools(text: str) -> Tools:
    """Return what a table says."""
    return read_tools(tomllib.loads(text))


def entry(text: str) -> str:
    """Return a table with one entry for each tool."""
    return f'[[tools]]\nname = "*"\n{text}'


def asked(text: str, arguments: str = "{}", tool: str = "buy", server: str | None = None) -> AuthorizeRequest:
    """Return the request that stands for a call by an entry."""
    found = tools(entry(text)).find(server, tool)
    assert found is not None
    document = strict_json.decode(arguments.encode())
    assert isinstance(document, dict)
    return request_of(found, ToolCall(tool, server, document), "id_1")


def probed(text: str, tool: str = "buy", server: str | None = None) -> Probe:
    """Return the question whether a tool is shown, by an entry."""
    found = tools(entry(text)).find(server, tool)
    assert found is not None
    return probe_of(found, tool, server, "id_1")


# --- Which entry holds ------------------------------------------------------------------------------------------------


def test_without_a_file_every_tool_is_unlisted() -> None:
    """And denied."""
    assert read_tools({}).find(None, "buy") is None


def test_an_unlisted_tool_can_be_asked_about_as_a_plain_call() -> None:
    """With what the table says for all."""
    found = tools('unlisted = "ask"\naction = "tool.use"\nsettle = "later"').find("shop", "buy")
    assert found is not None
    assert (found.action, found.resource_type, found.settle, found.amount) == ("tool.use", "tool", "later", None)


def test_the_first_entry_that_fits_holds() -> None:
    """By the name of the tool or a pattern, and by that of the server where the entry has one."""
    table = tools(
        """
        [[tools]]
        name = "buy"
        server = "shop-*"
        action = "a"
        [[tools]]
        name = "bu?"
        action = "b"
        [[tools]]
        name = "*"
        action = "c"
        """
    )
    found = [
        table.find(server, tool) for server, tool in (("shop-1", "buy"), (None, "buy"), ("x", "but"), ("x", "Buy"))
    ]
    assert [each and each.action for each in found] == ["a", "b", "b", "c"]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("speed = 1", "mcp.speed"),
        ("unlisted = 'allow'", "mcp.unlisted"),
        ("hold_seconds = 0", "mcp.hold_seconds"),
        ("[[tools]]\naction = 'x'", r"mcp.tools\[0\].name"),
        (entry("amuont = '$.a'"), r"mcp.tools\[0\].amuont"),
        (entry("settle = 'never'"), r"mcp.tools\[0\].settle"),
        (entry("action = 'a b'"), r"mcp.tools\[0\].action"),
        (entry("resource_type = 'Tool'"), r"mcp.tools\[0\].resource_type"),
        (entry("resource_id = 'name'"), r"mcp.tools\[0\].resource_id"),
        (entry("amount = '$.a'"), r"mcp.tools\[0\].currency"),
        (entry("currency = 'CAD'"), r"mcp.tools\[0\].currency"),
        (entry("currency = 'XXQ'\namount = '$.a'"), r"mcp.tools\[0\].currency"),
        (entry("currency = 'CAD'\namount = '$.a'\namount_minor = '$.b'"), r"mcp.tools\[0\].amount_minor"),
        (entry("currency = 'CAD'\namount = '1.234'"), r"mcp.tools\[0\].amount"),
        (entry("currency = '$.c'\namount = 'a lot'"), r"mcp.tools\[0\].amount"),
        (entry("currency = 'CAD'\namount_minor = '100'"), r"mcp.tools\[0\].amount_minor"),
        (entry("[tools.quantities]\nTokens = 1"), r"mcp.tools\[0\].quantities"),
        (entry("[tools.quantities]\ntokens = 'many'"), r"mcp.tools\[0\].quantities.tokens"),
        (entry("[tools.quantities]\ntokens = -1"), r"mcp.tools\[0\].quantities.tokens"),
        (entry("[tools.attributes]\nserver = '$..a'"), r"mcp.tools\[0\].attributes.server"),
        (entry("[tools.context]\npurpose = 1.5"), r"mcp.tools\[0\].context"),
        (entry("") + entry(""), r"mcp.tools\[1\]"),
    ],
)
def test_a_table_that_says_nothing_is_refused_at_start(text: str, place: str) -> None:
    """With the place of the mistake."""
    with pytest.raises(ConfigurationInvalid, match=place):
        tools(text)


def test_entries_have_a_limit() -> None:
    """They are looked through for each call."""
    with pytest.raises(ConfigurationInvalid, match="at most"):
        read_tools({"tools": [{"name": str(number)} for number in range(TOOLS_MAX + 1)]})


@pytest.mark.parametrize(
    "path",
    [
        "$",
        "$.*",
        "$..a",
        "$.a[0:2]",
        "$['a','b']",
        "$[?@.a]",
        "$.a |",
        "$.",
        "$" + "[" * 3000,
        "$." + "a" * PATH_LENGTH_MAX,
    ],
)
def test_a_path_names_one_value(path: str) -> None:
    """One that can name several, or is none, is refused."""
    with pytest.raises(ConfigurationInvalid, match="x"):
        place(path, "x")


# --- What becomes of the arguments ------------------------------------------------------------------------------------


def test_a_call_becomes_a_request() -> None:
    """Constants stay, paths are looked up, and the tool knows its server."""
    request = asked(
        """
        hold_seconds = 700000
        amount = "$.order.lines[0]['price']"
        currency = "$.order.currency"
        merchant_category = "7372"
        quantities = { tokens = "$.tokens", requests = 1 }
        attributes = { region = "$.order.region", level = 3, live = true }
        context = { purpose = "$['why']" }
        """,
        '{"order": {"lines": [{"price": 47.10}], "currency": "cad", "region": ["a"]}, "tokens": "12", "why": "tea"}',
        server="shop",
    )
    assert request == AuthorizeRequest(
        identity_id="id_1",
        action="tool.call",
        resource=request.resource,
        amount_minor=4710,
        currency="CAD",
        merchant_category="7372",
        quantities={"tokens": 12, "requests": 1},
        attributes={"server": "shop", "region": ["a"], "level": 3, "live": True},
        context={"purpose": "tea"},
        ttl_seconds=700_000,
    )
    assert (request.resource.type, request.resource.id) == ("tool", "buy")


@pytest.mark.parametrize(
    ("text", "arguments", "minor"),
    [
        ("amount = '$.a'", '{"a": 47.23}', 4723),
        ("amount = '$.a'", '{"a": "47.2"}', 4720),
        ("amount = '$.a'", '{"a": 47}', 4700),
        ("amount = '$.a'", '{"a": 1e1}', 1000),
        ("amount = '$[-1]'".replace("$[-1]", "$.a[-1]"), '{"a": [1, 2]}', 200),
        ("amount_minor = '$.a'", '{"a": 4723}', 4723),
        ("amount = '0.05'", "{}", 5),
    ],
)
def test_amounts_are_exact(text: str, arguments: str, minor: int) -> None:
    """A number is read from its text, a text as decimals, minor units as what they are; a price can be constant."""
    assert asked(f"currency = 'CAD'\n{text}", arguments).amount_minor == minor


AMOUNT = "currency = '$.c'\namount = '$.a'"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        pytest.param(AMOUNT, "{}", id="nothing"),
        pytest.param(AMOUNT, '{"c": "CAD"}', id="no amount"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": null}', id="null"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": true}', id="true"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": "1,50"}', id="a comma"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": -1}', id="below zero"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": 1.234}', id="too many places"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": 1e999999}', id="a huge exponent"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": {"b": 1}}', id="an object"),
        pytest.param(AMOUNT, '{"c": "CAD", "a": 1, "A": 1000}', id="a second key that reads alike"),
        pytest.param(AMOUNT, '{"c": "CAD", "A": 1}', id="a key in another case"),
        pytest.param(AMOUNT, '{"c": "XXQ", "a": 1}', id="an unknown currency"),
        pytest.param(AMOUNT, '{"c": 7, "a": 1}', id="a currency that is no text"),
        pytest.param(AMOUNT, '{"c": "\u017fek", "a": 1}', id="a currency that is not ASCII"),
        pytest.param("currency = 'CAD'\namount = '$.a[1]'", '{"a": [1]}', id="no such element"),
        pytest.param("currency = 'CAD'\namount = '$.a[0]'", '{"a": {"0": 1}}', id="no array"),
        pytest.param("currency = 'CAD'\namount = '$.a.b'", '{"a": [1]}', id="no object"),
        pytest.param("currency = 'CAD'\namount_minor = '$.a'", '{"a": 1.5}', id="half a minor unit"),
        pytest.param("quantities = { tokens = '$.t' }", '{"t": 1.5}', id="half a token"),
        pytest.param("quantities = { tokens = '$.t' }", '{"t": "x"}', id="a quantity that is none"),
        pytest.param("attributes = { a = '$.a' }", '{"a": 1.5}', id="a fraction that policies would see"),
        pytest.param("context = { a = '$.a' }", '{"a": {"__entity": 1}}', id="an escape of Cedar"),
        pytest.param("context = { a = '$.a' }", '{"a": "' + "x" * 70_000 + '"}', id="too much"),
        pytest.param("merchant_category = '$.m'", '{"m": "73"}', id="no category"),
        pytest.param("resource_id = '$.m'", '{"m": "a\\nb"}', id="no name"),
        pytest.param("resource_id = 'server/tool'", "{}", id="no server"),
    ],
)
def test_what_is_declared_and_is_not_there_is_refused(text: str, arguments: str) -> None:
    """A call without its amount is no call for nothing."""
    with pytest.raises(ValidationFailed) as refused:
        asked(text, arguments)
    assert refused.value.field is not None


def test_a_resource_can_be_named_by_server_or_by_an_argument() -> None:
    """Of what is no tool, the entry says everything."""
    assert asked("resource_id = 'server/tool'", server="shop").resource.id == "shop/buy"
    request = asked("resource_type = 'merchant'\nresource_id = '$.m'", '{"m": "AWS"}', server="shop")
    assert (request.resource.type, request.resource.id, request.attributes) == ("merchant", "AWS", {})


# --- Whether a tool is shown ------------------------------------------------------------------------------------------


def test_a_tool_is_shown_by_a_question_for_nothing() -> None:
    """Its amount is zero, as what is left of a budget must not hide it."""
    probe = probed("amount = '$.a'\ncurrency = 'CAD'\nquantities = { tokens = '$.t' }\ncontext = { purpose = 'x' }")
    request = probe.request
    assert not probe.is_open
    assert (request.amount_minor, request.currency) == (0, "CAD")
    assert (request.quantities, request.context) == ({"tokens": 0}, {"purpose": "x"})


@pytest.mark.parametrize(
    "text",
    [
        "amount = '$.a'\ncurrency = '$.c'",
        "merchant_category = '$.m'",
        "resource_id = '$.r'",
        "attributes = { a = '$.a', b = 1 }",
        "context = { a = '$.a' }",
    ],
)
def test_a_question_is_open_where_arguments_say_more(text: str) -> None:
    """What they would say is left out."""
    probe = probed(text)
    assert probe.is_open
    assert (probe.request.amount_minor, probe.request.currency, probe.request.merchant_category) == (None, None, None)
    assert "a" not in probe.request.attributes | probe.request.context


def test_a_sample_is_asked_as_a_call_would_be() -> None:
    """Its fractions are exact."""
    sample = "sample = { a = 1.1, c = 'CAD', deep = { list = [0.5, 2] } }"
    probe = probed(f"amount = '$.a'\ncurrency = '$.c'\nquantities = {{ tokens = '$.deep.list[1]' }}\n{sample}")
    assert not probe.is_open
    assert (probe.request.amount_minor, probe.request.quantities) == (110, {"tokens": 2})


def test_values_of_a_path_are_found_by_their_steps() -> None:
    """Names and indexes, also from the end."""
    found: Any = place("$.a[-1]['b c']", "x")
    assert found.steps == ("a", -1, "b c")
    assert found.value({"a": [1, {"b c": 2}]}, "x") == 2


def test_the_mapping_in_the_manual_is_one() -> None:
    """Its entries fit the tools that it speaks of."""
    manual = (ROOT / "docs" / "mcp.md").read_text()
    block = manual.partition("```toml\n")[2].partition("```")[0]
    table = read_tools(tomllib.loads(block)["mcp"])
    buy = table.find("shop", "buy")
    assert buy is not None
    assert probe_of(buy, "buy", "shop", "id_1").request.amount_minor == 100
    search = table.find(None, "search")
    assert search is not None
    assert request_of(search, ToolCall("search", None, {}), "id_1").amount_minor == 1
    assert table.find("other", "buy") is None
