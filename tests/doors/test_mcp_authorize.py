"""``POST /mcp/authorize``: calls of tools are decided as natively, lists of tools are rehearsed."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from sidecar.doors.mcp.protocol import MCP_BODY_BYTES_MAX, TOOLS_LISTED_MAX
from tests.doors.door import Door, House, build, check_refusal
from tests.process.server import Answer, Document

GATEWAY = """
[[mcp.tools]]
name = "buy"
amount = "$.amount"
currency = "CAD"
settle = "later"

[[mcp.tools]]
name = "convert"
amount = "$.amount"
currency = "$.currency"

[[mcp.tools]]
name = "card"
action = "card.authorize"
resource_type = "merchant"
resource_id = "$.shop"
amount = "$.amount"
currency = "$.currency"

[[mcp.tools]]
name = "untypical"
context = { unheard_of = "x" }

[[mcp.tools]]
name = "sampled"
amount = "$.amount"
currency = "CAD"
sample = { amount = 1000 }

[[mcp.tools]]
name = "*_file"
"""


class Shop(NamedTuple):
    """A house whose agent may use some tools for 50 CAD at a time and 100 CAD a day."""

    house: House
    budget: str

    def ask(self, body: object, token: str | None = None, **more: str) -> Answer:
        """Ask with the agent's token unless said."""
        return self.house.call("POST", "/mcp/authorize", body, token=token or self.house.agent_token, **more)

    def call(self, tool: str, *, key: str | None = None, **arguments: object) -> Document:
        """Ask about a call and return the answer."""
        body = {"method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        answer = self.ask(body, **({} if key is None else {"key": key}))
        assert answer.status == 200, answer
        return answer.document

    def shown(self, *tools: object) -> Document:
        """Ask which tools are shown."""
        answer = self.ask({"method": "tools/list", "tools": list(tools)})
        assert answer.status == 200, answer
        return answer.document


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A house with a mapping of tools."""
    folder = tmp_path_factory.mktemp("mcp")
    (folder / "gateway.toml").write_text(GATEWAY)
    with Door(folder, gateway=folder / "gateway.toml") as door:
        house = build(door)
        names = ("buy", "convert", "sampled", "read_file", "untypical")
        tools = [{"type": "tool", "id": name} for name in names]
        rules = {"actions": ["tool.call"], "allowed_resources": tools, "max_amount": 50, "currencies": ["CAD"]}
        house.ok("POST", "/v1/policies", {"identity_id": house.agent, "name": "tools", "rules": rules})
        limit = {"dimension": "amount", "period": "daily", "limit": 100, "currency": "CAD", "actions": ["tool.call"]}
        budget = house.ok("POST", "/v1/budgets", {"identity_id": house.agent, "name": "tools"} | limit)
        yield Shop(house, budget["budget_id"])


def test_a_call_is_decided_recorded_and_held_as_natively(shop: Shop) -> None:
    """The agent is the token's own; the answer says besides when to settle, and settling is native."""
    before = shop.house.state()["head"]["seq"]
    document = shop.call("buy", amount="12.50")
    assert (document["allowed"], document["settle"], document["identity_id"]) == (True, "later", shop.house.agent)
    assert str(document["reservation"]["amount"]) == "12.5"
    assert document["audit"]["seq"] == before + 1
    settled = shop.house.call("POST", f"/v1/decisions/{document['decision_id']}/settle", token=shop.house.agent_token)
    assert settled.document["state"] == "settled"
    record = shop.house.ok("GET", "/v1/audit?limit=200")["data"][-2]
    assert (record["action"], record["verdict"]) == ("tool.call", "allow")


def test_a_message_is_taken_as_it_is(shop: Shop) -> None:
    """What JSON-RPC and newer versions of MCP have besides says nothing."""
    params = {"name": "read_file", "arguments": {"deep": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}, "_meta": {"x": 1}}
    answer = shop.ask({"jsonrpc": "2.0", "id": "7", "method": "tools/call", "params": params, "server": "disk"})
    assert answer.document["allowed"] is True
    assert answer.document["reservation"] is None


def test_a_denial_names_its_reasons(shop: Shop) -> None:
    """A restriction and a budget speak as natively."""
    dear = shop.call("buy", amount=50.01)
    assert [(each["code"], each["matched_rule"]) for each in dear["reasons"]] == [("forbidden", "max_amount")]
    stranger = shop.call("delete_file")
    assert stranger["reasons"][0]["code"] == "forbidden"
    assert stranger["decision_id"]


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "words"),
    [
        ("wipe", {}, "tool_not_listed", "the tool `wipe` is not listed"),
        ("buy", {}, "arguments_not_mapped", "the arguments have nothing at `$.amount`"),
        ("buy", {"amount": "a lot"}, "arguments_not_mapped", "params.arguments, amount: not an amount"),
        ("buy", {"amount": 1, "AMOUNT": 2}, "arguments_not_mapped", "the key `AMOUNT` can be read as `amount`"),
        ("convert", {"amount": 1, "currency": "EURO"}, "arguments_not_mapped", "EURO"),
    ],
)
def test_a_call_that_makes_no_request_is_denied(
    shop: Shop, tool: str, arguments: Document, code: str, words: str
) -> None:
    """Nothing is recorded and nothing held: there is nothing that could be decided."""
    before = shop.house.state()
    document = shop.call(tool, **arguments)
    assert (document["allowed"], document["decision_id"], document["reservation"]) == (False, None, None)
    (reason,) = document["reasons"]
    assert (reason["verdict"], reason["code"]) == ("deny", code)
    assert words in reason["message"]
    assert shop.house.state() == before


def test_a_call_that_does_not_fit_the_schema_is_an_error(shop: Shop) -> None:
    """As natively: the mapping is wrong, not the call."""
    answer = shop.ask({"method": "tools/call", "params": {"name": "untypical"}})
    check_refusal(answer, 400, "context.unheard_of")


def test_a_repeated_key_is_one_decision(shop: Shop) -> None:
    """With other content it is refused."""
    body = {"method": "tools/call", "params": {"name": "buy", "arguments": {"amount": 1}}}
    first, second = shop.ask(body, key="k"), shop.ask(body, key="k")
    assert first.document["decision_id"] == second.document["decision_id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert second.document["settle"] == "later"
    body["params"] = {"name": "buy", "arguments": {"amount": 2}}
    check_refusal(shop.ask(body, key="k"), 422)


def test_long_arguments_are_read(shop: Shop) -> None:
    """Of a message that is read beside the others."""
    assert shop.call("read_file", text="x" * 1024 * 1024)["allowed"]
    check_refusal(shop.ask(b" " * (MCP_BODY_BYTES_MAX + 1)), 413)


def test_a_list_tells_which_tools_are_shown(shop: Shop) -> None:
    """By name or as a server describes them, in their order; nothing is recorded."""
    before = shop.house.state()
    document = shop.shown(
        "buy", {"name": "read_file", "inputSchema": {}}, "delete_file", "wipe", "bad\u0000_file", "sampled"
    )
    assert document["allowed"] == ["buy", "read_file"]
    assert [(each["name"], each["code"]) for each in document["denied"]] == [
        ("delete_file", "forbidden"),
        ("wipe", "tool_not_listed"),
        ("bad\u0000_file", "arguments_not_mapped"),
        ("sampled", "forbidden"),
    ]
    assert all(each["message"] for each in document["denied"])
    assert shop.house.state() == before


def test_a_tool_whose_arguments_decide_is_shown_unless_nothing_could_permit_it(shop: Shop) -> None:
    """Where a request cannot be made without them, and where only they could be forbidden; a wrong mapping hides."""
    document = shop.shown("convert", "card", "untypical")
    assert document["allowed"] == ["convert", "card"]
    assert [(each["name"], each["code"]) for each in document["denied"]] == [("untypical", "arguments_not_mapped")]


def test_a_budget_that_is_used_up_hides_nothing(shop: Shop) -> None:
    """The model shall read when it can try again."""
    for amount in (50, 30):
        shop.call("buy", amount=amount)
    assert shop.call("buy", amount=50)["reasons"][0]["code"] == "budget_exceeded"
    assert shop.shown("buy")["allowed"] == ["buy"]


def test_nobody_is_shown_what_a_suspended_agent_could_call(shop: Shop) -> None:
    """Open questions too are answered for those who may act."""
    path = f"/v1/identities/{shop.house.agent}"
    shop.house.ok("PATCH", path, {"status": "suspended"})
    try:
        document = shop.shown("buy", "convert")
    finally:
        shop.house.ok("PATCH", path, {"status": "active"})
    assert document["allowed"] == []
    assert {each["code"] for each in document["denied"]} == {"identity_suspended"}


def test_many_tools_are_told_about_at_once(shop: Shop) -> None:
    """Up to a limit."""
    tools = [f"{number}_file" for number in range(TOOLS_LISTED_MAX)]
    assert len(shop.shown(*tools)["denied"]) == TOOLS_LISTED_MAX
    check_refusal(shop.ask({"method": "tools/list", "tools": [*tools, "x"]}), 400, "tools")


CALL = {"method": "tools/call", "params": {"name": "read_file"}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "method"),
        ({"method": "ping"}, "method"),
        ({"method": "tools/list"}, "tools"),
        ({"method": "tools/list", "tools": [7]}, "tools[0]"),
        ({"method": "tools/list", "tools": [{"title": "x"}]}, "tools[0]"),
        ({"method": "tools/list", "tools": {}}, "tools"),
        ({"method": "tools/call"}, "params.name"),
        ({"method": "tools/call", "params": {"name": 7}}, "params.name"),
        ({"method": "tools/call", "params": {"name": ""}}, "params.name"),
        ({"method": "tools/call", "params": {"name": "a", "NAME": "b"}}, "params.name"),
        ({"method": "tools/call", "params": {"name": "a", "arguments": []}}, "params.arguments"),
        ({"method": "tools/call", "params": {"name": "a", "Arguments": {}}}, "params.arguments"),
        ({"method": "tools/call", "params": []}, "params"),
        (CALL | {"server": "a/b"}, "server"),
        (CALL | {"amount": 1}, "amount"),
    ],
)
def test_a_message_that_cannot_be_decided_about_is_refused(shop: Shop, body: Document, field: str) -> None:
    """Natively, with the place."""
    check_refusal(shop.ask(body), 400, field)


def test_what_is_no_strict_json_is_refused(shop: Shop) -> None:
    """A key that is given twice, anything nested too deep, another type of content."""
    check_refusal(shop.ask(b'{"method":"tools/list","method":"tools/call","params":{"name":"read_file"}}'), 400)
    check_refusal(shop.ask(b'{"method":"tools/list","tools":' + b"[" * 64 + b"]" * 64 + b"}"), 400)
    answer = shop.house.door.call(
        "POST",
        "/mcp/authorize",
        json.dumps(CALL).encode(),
        token=shop.house.key,
        headers=[("Content-Type", "text/xml")],
    )
    check_refusal(answer, 415)


def test_a_list_takes_no_idempotency_key(shop: Shop) -> None:
    """It changes nothing; and a key has its grammar."""
    check_refusal(shop.ask({"method": "tools/list", "tools": []}, key="k"), 400, "Idempotency-Key")
    check_refusal(shop.ask(CALL, key="k" * 256), 400, "Idempotency-Key")


def test_whose_call_it_is(shop: Shop) -> None:
    """A key of the tenant names the identity; nobody reaches beyond the token, and the operator names the tenant."""
    house = shop.house
    check_refusal(shop.ask(CALL, token=house.key), 400, "identity_id")
    named = CALL | {"identity_id": house.agent}
    assert shop.ask(named, token=house.key).document["allowed"]
    check_refusal(shop.ask(CALL | {"identity_id": house.other}), 404, "identity_id")
    check_refusal(shop.ask({"method": "tools/list", "tools": ["buy"], "identity_id": "x"}), 404, "identity_id")
    check_refusal(house.door.call("POST", "/mcp/authorize", CALL, token=None), 401)
    check_refusal(house.door.call("POST", "/mcp/authorize", named), 400, "tenant_id")
    path = f"/mcp/authorize?tenant_id={house.tenant_id}"
    assert house.door.call("POST", path, named).document["allowed"]
    assert house.door.call("POST", "/mcp/authorize", named | {"tenant_id": house.tenant_id}).document["allowed"]
    check_refusal(house.door.call("POST", path, named | {"tenant_id": "t_other"}), 400, "tenant_id")
    check_refusal(house.door.call("POST", "/mcp/authorize?speed=1", named), 400, "speed")


def test_without_a_mapping_every_call_is_denied(house: House) -> None:
    """A server without a mapping file knows no tool."""
    answer = house.door.call("POST", "/mcp/authorize", CALL, token=house.agent_token)
    assert answer.document["reasons"][0]["code"] == "tool_not_listed"
