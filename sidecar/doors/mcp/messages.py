"""Lines of JSON-RPC between an MCP client and its server, as both ends read them: one way only, or not passed on.

What a client writes decides what its server does, so a line is passed on only if every parser finds the same message in
it: strict JSON, no key beside another that reads alike, and no carriage return inside, at which some servers end a
line. What a server writes is passed on as it is; it is read for whose answer it is.
Sources: JSON-RPC 2.0; MCP 2024-11-05 to 2026-07-28, which differ in nothing that is read here.
"""

import json
from typing import Final, Literal, TypeAlias, cast

import msgspec

from sidecar.core.errors import InvalidJson, ValidationFailed
from sidecar.doors.mcp.paths import check_alone
from sidecar.doors.mcp.protocol import MCP_DEPTH_MAX, TOOLS_CALL, TOOLS_LIST
from sidecar.doors.wire import strict_json

Id: TypeAlias = str | int
Key: TypeAlias = tuple[str, Id]
"""An id and its type: ``1`` and ``"1"`` are two."""

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
SERVER_ENDED: Final = -32000

CANCELLED: Final = "notifications/cancelled"

WHOLE_MAX: Final = 2**53 - 1
"""The largest id: beyond it a server in JavaScript answers to another one."""

ID_LENGTH_MAX: Final = 256
"""Of an id that is a text; it is kept while its request is under way."""

LINE_ENDS: Final = tuple((end.encode(), f"\\u{ord(end):04x}".encode()) for end in "\u0085\u2028\u2029")
"""What ends a line for some readers and stands in a text of JSON, and how it is escaped."""

_ASKED: Final = frozenset({TOOLS_CALL, TOOLS_LIST})
_FIELDS: Final = ("jsonrpc", "id", "method", "params", "result", "error")


class Refusal(Exception):
    """A line of the client that is not passed on; ``answer`` is what the client hears of it."""

    def __init__(self, code: int, message: str, *, request_id: Id | None = None, answer: bytes = b"") -> None:
        """Tell of it in an error to ``request_id``, unless another ``answer`` is given."""
        super().__init__(message)
        self.answer = answer or error_line(request_id, code, message)


class FromClient(msgspec.Struct, frozen=True):
    """A line of the client that may be passed on. ``params`` are those of a call, as they were written.

    ``request_id`` is that of a request, or the one that a cancellation names.
    """

    kind: Literal["call", "list", "request", "cancellation", "other"]
    request_id: Id | None = None
    tool: str = ""
    params: msgspec.Raw = msgspec.Raw()


Outcome: TypeAlias = Literal["done", "failed", "unfinished"]


class FromServer(msgspec.Struct, frozen=True):
    """A line of the server. ``answers`` is the request that it answers, None for a message of the server's own."""

    answers: Id | None = None
    outcome: Outcome = "done"
    is_error: bool = False


def key_of(request_id: Id) -> Key:
    """Return an id as it is told from all others."""
    return type(request_id).__name__, request_id


def read_client(line: bytes) -> FromClient | None:
    """Return what a line of the client is, None for an empty one. Raises Refusal."""
    body = line.removesuffix(b"\n").removesuffix(b"\r")
    if not body.strip(b" \t"):
        return None
    document = _document(body)
    is_answer = "result" in document or "error" in document
    if "method" in document:
        if is_answer:
            raise Refusal(INVALID_REQUEST, "a message is either a request or an answer")
        return _asked(document, body)
    if "id" not in document or not is_answer:
        raise Refusal(INVALID_REQUEST, "a message is a request, a notification or an answer")
    return FromClient("other")


def one_line(line: bytes) -> bytes:
    """Return a line that ``read_client`` took, with one end for every reader of lines.

    Unicode has line ends that JSON takes for characters of a text (Python's ``splitlines`` goes by them): a message in
    a text would be a line of its own there. They are escaped, which changes nothing of what the text says.
    """
    for end, escaped in LINE_ENDS:
        line = line.replace(end, escaped)
    return line if line.endswith(b"\n") else line + b"\n"


def _document(body: bytes) -> dict[str, object]:
    """Return the only message that a line can be read as. Raises Refusal."""
    if b"\r" in body:
        raise Refusal(PARSE_ERROR, "a message has no carriage return inside")
    try:
        document = strict_json.decode(body, MCP_DEPTH_MAX)
    except InvalidJson as error:
        raise Refusal(PARSE_ERROR, error.message) from error
    if isinstance(document, list):
        raise _batch(document)
    if not isinstance(document, dict):
        raise Refusal(INVALID_REQUEST, "a message is an object")
    try:
        for name in _FIELDS:
            check_alone(document, name, name)
    except ValidationFailed as error:
        raise Refusal(INVALID_REQUEST, error.message) from error
    return document


def _asked(document: dict[str, object], body: bytes) -> FromClient:
    """Return what a request or notification is. Raises Refusal."""
    method = document["method"]
    if not isinstance(method, str):
        raise Refusal(INVALID_REQUEST, "a method is a text")
    if not (method.isascii() and method.isprintable()):
        raise Refusal(INVALID_REQUEST, "a method has plain letters, digits and signs only")
    if method not in _ASKED and method.strip().casefold() in _ASKED:
        raise Refusal(INVALID_REQUEST, "the method can be read as one of another spelling")
    if "id" not in document:
        if method in _ASKED:
            raise Refusal(INVALID_REQUEST, f"`{method}` is a request and has an id")
        return _notified(method, document.get("params"))
    request_id = _checked(document["id"])
    if method == TOOLS_LIST:
        return FromClient("list", request_id)
    if method == TOOLS_CALL:
        return _called(request_id, document.get("params"), body)
    return FromClient("request", request_id)


def _called(request_id: Id, params: object, body: bytes) -> FromClient:
    """Return a call of a tool. Raises Refusal."""
    if not isinstance(params, dict) or not isinstance(params.get("name"), str):
        raise Refusal(INVALID_PARAMS, "a call names its tool", request_id=request_id)
    if not isinstance(params.get("arguments"), dict | None):
        raise Refusal(INVALID_PARAMS, "arguments are an object", request_id=request_id)
    try:
        for name in ("name", "arguments"):
            check_alone(params, name, name)
    except ValidationFailed as error:
        raise Refusal(INVALID_PARAMS, error.message, request_id=request_id) from error
    written = msgspec.json.decode(body, type=dict[str, msgspec.Raw])["params"]
    return FromClient("call", request_id, cast("str", params["name"]), written.copy())


def _notified(method: str, params: object) -> FromClient:
    named = params.get("requestId") if isinstance(params, dict) else None
    if method == CANCELLED and isinstance(named, str | int) and not isinstance(named, bool):
        return FromClient("cancellation", named)
    return FromClient("other")


def _checked(request_id: object) -> Id:
    """Return an id that both ends write alike. Raises Refusal."""
    if isinstance(request_id, str) and len(request_id) <= ID_LENGTH_MAX:
        return request_id
    if isinstance(request_id, int) and not isinstance(request_id, bool) and abs(request_id) <= WHOLE_MAX:
        return request_id
    expected = f"an integer within {WHOLE_MAX} or a text of at most {ID_LENGTH_MAX} characters"
    raise Refusal(INVALID_REQUEST, f"an id is {expected}")


def _batch(items: list[object]) -> Refusal:
    """Return the refusal of several messages in one, which only MCP 2025-03-26 had: one error for each request."""
    message = "batches are not passed on: send one message a line"
    errors = []
    for item in items:
        named = item.get("id") if isinstance(item, dict) and "method" in item else None
        if isinstance(named, str | int) and not isinstance(named, bool):
            errors.append(error_line(named, INVALID_REQUEST, message).rstrip(b"\n"))
    answer = b"[" + b",".join(errors) + b"]\n" if errors else b""
    return Refusal(INVALID_REQUEST, message, answer=answer)


def read_server(line: bytes) -> FromServer | list[bytes] | None:
    """Return what a line of the server is, the lines in it for several in one, None for what is no message."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list):
        try:
            return [bytes(item) + b"\n" for item in msgspec.json.decode(line, type=list[msgspec.Raw])]
        except msgspec.MsgspecError:
            return None
    if not isinstance(document, dict):
        return None
    is_answer = "result" in document or "error" in document
    if "method" in document:
        return None if is_answer else FromServer()
    if not is_answer:
        return None
    request_id = document.get("id")
    if not isinstance(request_id, str | int) or isinstance(request_id, bool):
        # An error about something that could not be read; a result of nothing is none.
        return FromServer() if "error" in document and "result" not in document else None
    return FromServer(request_id, _outcome(document), "error" in document)


def _outcome(document: dict[str, object]) -> Outcome:
    """Return how a call ended; one that was made a task counts as done, as how the task ends is not seen."""
    result = document.get("result")
    if "error" in document or (isinstance(result, dict) and result.get("isError") is True):
        return "failed"
    if isinstance(result, dict) and result.get("resultType") == "input_required":
        return "unfinished"
    return "done"


class _Named(msgspec.Struct):
    name: str


class ToolList:
    """The answer to ``tools/list``, of which tools can be left out; what stays is as the server wrote it."""

    def __init__(self, line: bytes) -> None:
        """Read an answer. Raises ValueError for one that is no list of tools."""
        try:
            self._message = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            self._result = msgspec.json.decode(self._message["result"], type=dict[str, msgspec.Raw])
            self._tools = msgspec.json.decode(self._result["tools"], type=list[msgspec.Raw])
            self.names = [msgspec.json.decode(tool, type=_Named).name for tool in self._tools]
        except (msgspec.MsgspecError, KeyError) as error:
            raise ValueError("the answer is no list of tools") from error

    def only(self, shown: set[str]) -> bytes:
        """Return the answer with those tools."""
        tools = [tool for tool, name in zip(self._tools, self.names, strict=True) if name in shown]
        result = self._result | {"tools": msgspec.Raw(msgspec.json.encode(tools))}
        message = self._message | {"result": msgspec.Raw(msgspec.json.encode(result))}
        return msgspec.json.encode(message) + b"\n"


def error_line(request_id: Id | None, code: int, message: str) -> bytes:
    """Return an error of JSON-RPC."""
    error = {"code": code, "message": message}
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "error": error}) + b"\n"


def denial_line(request_id: Id, text: str, decision_id: str | None, codes: list[str]) -> bytes:
    """Return a tool's result that says why it was not called, so that the model reads it."""
    result = {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "resultType": "complete",
        "_meta": {"sidecar/decision_id": decision_id, "sidecar/codes": codes},
    }
    return msgspec.json.encode({"jsonrpc": "2.0", "id": request_id, "result": result}) + b"\n"
