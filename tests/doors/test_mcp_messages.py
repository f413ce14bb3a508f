"""Lines of an MCP client are read in one way only, or not passed on."""

import json

import pytest

from sidecar.doors.mcp.messages import (
    ID_LENGTH_MAX,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    WHOLE_MAX,
    FromServer,
    Refusal,
    ToolList,
    key_of,
    one_line,
    read_client,
    read_server,
)

CALL = '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"buy","arguments":{"amount":1.50}}}'


@pytest.mark.parametrize(
    ("line", "kind", "request_id"),
    [
        (CALL, "call", 7),
        ('{"jsonrpc":"2.0","id":"7","method":"tools/call","params":{"name":"x"}}', "call", "7"),
        ('{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":null}}', "call", 7),
        ('{"jsonrpc":"2.0","id":0,"method":"tools/list"}', "list", 0),
        ('{"jsonrpc":"2.0","id":-1,"method":"initialize","params":{}}', "request", -1),
        ('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}', "cancellation", 7),
        ('{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":true}}', "other", None),
        ('{"jsonrpc":"2.0","method":"notifications/cancelled"}', "other", None),
        ('{"jsonrpc":"2.0","method":"notifications/initialized"}', "other", None),
        ('{"jsonrpc":"2.0","id":7,"result":{}}', "other", None),
        ('{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}', "other", None),
    ],
)
def test_a_line_of_the_client_is_one_message(line: str, kind: str, request_id: object) -> None:
    """Its kind and the id that matters are found, whichever line end it has."""
    for end in ("\n", "\r\n", ""):
        found = read_client((line + end).encode())
        assert found is not None
        assert (found.kind, found.request_id) == (kind, request_id)


def test_an_empty_line_is_no_message() -> None:
    """It is dropped."""
    assert read_client(b" \t\r\n") is None


def test_the_parameters_of_a_call_stay_as_they_were_written() -> None:
    """An amount is not read and written again."""
    found = read_client(CALL.encode())
    assert found is not None
    assert (found.tool, bytes(found.params)) == ("buy", b'{"name":"buy","arguments":{"amount":1.50}}')


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        pytest.param("nonsense", PARSE_ERROR, None, id="no JSON"),
        pytest.param('{"id":1,"method":"ping","method":"tools/call"}', PARSE_ERROR, None, id="a key given twice"),
        pytest.param('{"id":1,"method":"x","params":\r{"id":2}}', PARSE_ERROR, None, id="two lines for some"),
        pytest.param('{"id":1,"method":"ping","params":NaN}', PARSE_ERROR, None, id="NaN"),
        pytest.param('{"id":1,"method":"\\ud800"}', PARSE_ERROR, None, id="half of a surrogate pair"),
        pytest.param("[" * 65 + "]" * 65, PARSE_ERROR, None, id="too deep"),
        pytest.param("7", INVALID_REQUEST, None, id="no object"),
        pytest.param('{"id":1,"method":"ping","Method":"tools/call"}', INVALID_REQUEST, None, id="a key in two cases"),
        pytest.param('{"id":1,"method":"ping","param\u017f":{}}', INVALID_REQUEST, None, id="a long s"),
        pytest.param('{"id":1,"METHOD":"tools/call"}', INVALID_REQUEST, None, id="a key in another case"),
        pytest.param('{"id":1}', INVALID_REQUEST, None, id="neither request nor answer"),
        pytest.param('{"result":{}}', INVALID_REQUEST, None, id="an answer to nothing"),
        pytest.param('{"id":1,"method":"ping","result":{}}', INVALID_REQUEST, None, id="both"),
        pytest.param('{"id":1,"method":7}', INVALID_REQUEST, None, id="a method that is no text"),
        pytest.param('{"id":1,"method":"Tools/Call"}', INVALID_REQUEST, None, id="a method in another case"),
        pytest.param('{"method":"tools/call","params":{"name":"x"}}', INVALID_REQUEST, None, id="a call without an id"),
        pytest.param('{"id":null,"method":"tools/call"}', INVALID_REQUEST, None, id="an id of null"),
        pytest.param('{"id":true,"method":"ping"}', INVALID_REQUEST, None, id="an id that is true"),
        pytest.param('{"id":1.0,"method":"ping"}', INVALID_REQUEST, None, id="an id with a fraction"),
        pytest.param(f'{{"id":{WHOLE_MAX + 1},"method":"ping"}}', INVALID_REQUEST, None, id="an id too large"),
        pytest.param(
            f'{{"id":"{"x" * (ID_LENGTH_MAX + 1)}","method":"x"}}', INVALID_REQUEST, None, id="an id too long"
        ),
        pytest.param('{"id":1,"method":"tools/call"}', INVALID_PARAMS, 1, id="no parameters"),
        pytest.param('{"id":1,"method":"tools/call","params":{"name":7}}', INVALID_PARAMS, 1, id="no name"),
        pytest.param(
            '{"id":1,"method":"tools/call","params":{"name":"a","Name":"b"}}', INVALID_PARAMS, 1, id="two names"
        ),
        pytest.param(
            '{"id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}', INVALID_PARAMS, 1, id="a list"
        ),
    ],
)
def test_a_line_that_could_be_read_otherwise_is_refused(line: str, code: int, request_id: object) -> None:
    """The client hears why, with the id of its request where that is beyond doubt."""
    with pytest.raises(Refusal) as refused:
        read_client(line.encode())
    answer = json.loads(refused.value.answer)
    assert answer["jsonrpc"] == "2.0"
    assert (answer["id"], answer["error"]["code"]) == (request_id, code)
    assert answer["error"]["message"]


@pytest.mark.parametrize("method", ["tools/call\\u0000", "tools/call\\u200b", "\uff54ools/call", "tools/call\\u2028"])
def test_a_method_has_plain_characters(method: str) -> None:
    """A server that ends a text at a zero byte, or takes like for like, would find a call in it."""
    with pytest.raises(Refusal, match="plain letters"):
        read_client(f'{{"id":1,"method":"{method}","params":{{"name":"x"}}}}'.encode())


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
def test_a_line_has_one_end_for_every_reader(end: str) -> None:
    """A call in a text of another message stays a text, also where lines are cut as Unicode does."""
    call = json.dumps(CALL)[1:-1]
    line = f'{{"id":1,"method":"ping","params":{{"x":"{end}{call}{end}"}}}}'
    assert len(line.splitlines()) == 3
    assert read_client(line.encode()) is not None
    passed = one_line(line.encode()).decode()
    assert passed.splitlines() == [passed.removesuffix("\n")]
    assert json.loads(passed) == json.loads(line)


def test_a_line_without_such_characters_stays_as_it_was() -> None:
    assert one_line(f"{CALL}\r\n".encode()) == f"{CALL}\r\n".encode()


def test_bytes_that_are_no_text_are_refused() -> None:
    """They are no JSON."""
    with pytest.raises(Refusal, match="UTF-8"):
        read_client(b'{"id":1,"method":"\xff"}\n')


def test_each_request_of_a_batch_is_refused() -> None:
    """Whoever waits for one of them hears of it."""
    with pytest.raises(Refusal) as refused:
        read_client(
            b'[{"id":1,"method":"tools/call"},{"method":"x"},{"id":"b","method":"ping"},{"id":true,"method":"x"},7]'
        )
    assert [answer["id"] for answer in json.loads(refused.value.answer)] == [1, "b"]
    with pytest.raises(Refusal) as refused:
        read_client(b"[]")
    assert json.loads(refused.value.answer)["id"] is None


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"jsonrpc":"2.0","id":1,"result":{}}', FromServer(1)),
        ('{"jsonrpc":"2.0","id":"1","result":{"isError":false}}', FromServer("1")),
        ('{"jsonrpc":"2.0","id":1,"result":{"isError":true}}', FromServer(1, "failed")),
        ('{"jsonrpc":"2.0","id":1,"result":{"resultType":"input_required"}}', FromServer(1, "unfinished")),
        ('{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t"}}}', FromServer(1)),
        ('{"jsonrpc":"2.0","id":1,"result":{"x":"\\ud800","y":NaN}}', FromServer(1)),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}', FromServer(1, "failed", is_error=True)),
        ('{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}', FromServer()),
        ('{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}', FromServer()),
        ('{"jsonrpc":"2.0","method":"notifications/message"}', FromServer()),
        ('{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}', None),
        ('{"jsonrpc":"2.0","id":null,"result":{}}', None),
        ('{"jsonrpc":"2.0","id":true,"result":{}}', None),
        ('{"jsonrpc":"2.0"}', None),
        ("starting up", None),
        ("7", None),
        ("[" * 100_000, None),
        ('[{"x":NaN}]', None),
    ],
)
def test_a_line_of_the_server_is_read_for_whose_answer_it_is(line: str, found: FromServer | None) -> None:
    """A call that was made a task counts as done; what no client could take for a message is none."""
    assert read_server(line.encode()) == found


def test_several_messages_in_one_line_are_read_one_by_one() -> None:
    """So that a list of tools does not hide among them."""
    assert read_server(b'[{"id":1, "result":{}},7]') == [b'{"id":1, "result":{}}\n', b"7\n"]


def test_ids_of_two_types_are_two() -> None:
    """A text is no number."""
    assert key_of(1) != key_of("1")


def test_a_list_of_tools_loses_some_and_keeps_the_rest_as_it_was() -> None:
    """What is said of a tool, and where the list goes on, is not written anew."""
    line = b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","x":1.50},{"name":"b"}],"nextCursor":"c"}}'
    tools = ToolList(line)
    assert tools.names == ["a", "b"]
    assert tools.only({"a"}) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","x":1.50}],"nextCursor":"c"}}\n'
    )


@pytest.mark.parametrize("result", ["7", "{}", '{"tools":{}}', '{"tools":[{}]}', '{"tools":["a"]}'])
def test_what_is_no_list_of_tools_is_refused(result: str) -> None:
    """Nothing could be left out of it."""
    with pytest.raises(ValueError, match="no list of tools"):
        ToolList(f'{{"id":1,"result":{result}}}'.encode())
