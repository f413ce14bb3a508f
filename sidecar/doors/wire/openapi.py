"""The description of a door as OpenAPI 3.1: generated from its calls and their types, and from nothing else.

Which errors a call can answer with follows from what it takes. Sources: OpenAPI 3.1.1, JSON Schema 2020-12.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, NotRequired, TypeAlias, TypedDict

import msgspec

from sidecar.core.errors import SidecarError
from sidecar.core.limits import IDEMPOTENCY_KEY_LENGTH_MAX
from sidecar.doors.wire import typed
from sidecar.doors.wire.endpoint import Call
from sidecar.doors.wire.http import STATUS

Document: TypeAlias = dict[str, Any]

JSON: Final = "application/json"
NEVER_SHOWN: Final = frozenset({"store_unusable", "configuration_invalid"})
"""Codes that end a process; on the wire they are `unavailable`."""

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_SAFE: Final = frozenset({"GET", "HEAD"})
_PRINTABLE: Final = rf"^[!-~]([ -~]{{0,{IDEMPOTENCY_KEY_LENGTH_MAX - 2}}}[!-~])?$"


class Error(TypedDict):
    """What went wrong, in a sentence and as a stable code; ``field`` is the place in the request that is at fault."""

    error: str
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(STATUS.keys() - NEVER_SHOWN)})]
    field: NotRequired[str]
    request_id: str


class About(msgspec.Struct, frozen=True):
    """What is said of the whole; ``tags`` are the groups of calls, in order, with a sentence each."""

    title: str
    version: str
    description: str
    tags: Mapping[str, str]


class Example(msgspec.Struct, frozen=True):
    """One call as it may be made, and its answer; None where there is no body. ``query`` is only for trying it."""

    summary: str
    request: object = None
    answer: object = None
    query: str = ""


class Words(msgspec.Struct, frozen=True):
    """What a description says that calls do not: parameters by name, and examples by call (``POST /v1/things``)."""

    in_path: Mapping[str, object]
    in_query: Mapping[str, object]
    examples: Mapping[str, tuple[Example, ...]]


def describe(about: About, calls: Iterable[Call], words: Words) -> Document:
    """Return the document. What nobody described is described as a plain text or any value."""
    schemas = _Schemas()
    documented = [call for call in calls if call.is_documented]
    paths: dict[str, Document] = {}
    for call in documented:
        for number, path in enumerate((call.path, *call.aliases)):
            operation = _operation(call, words, schemas.of)
            if number:
                operation["operationId"] += f"_alias{number}"
                operation["summary"] += f" The same call as `{call.path}`"
            paths.setdefault(path, {})[call.method.lower()] = operation
    components = {
        "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": _BEARER}},
        "parameters": _HEADERS_IN,
        "headers": _HEADERS_OUT,
        "responses": {f"Error{status}": _error(status, codes, schemas.of) for status, codes in _by_status().items()},
    }
    return {
        "openapi": "3.1.1",
        "info": {"title": about.title, "version": about.version, "description": about.description},
        "tags": [{"name": name, "description": description} for name, description in about.tags.items()],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {"schemas": schemas.finished(), **components},
    }


class _Schemas:
    """Hands out schemas that are filled in when all types are known, since they share their components."""

    def __init__(self) -> None:
        self._types: list[object] = []
        self._given: list[Document] = []

    def of(self, wanted: object) -> Document:
        """Return the schema of a type, still empty."""
        self._types.append(wanted)
        self._given.append({})
        return self._given[-1]

    def finished(self) -> Document:
        """Fill in what was handed out; return the components by name."""
        found, components = typed.schemas_of(self._types)
        for given, schema in zip(self._given, found, strict=True):
            given.update(schema)
        for component in components.values():
            if "description" in component:
                component["description"] = inspect.cleandoc(component["description"])
        return components


def key_of(call: Call) -> str:
    """Return what examples call a call."""
    return f"{call.method} {call.path}"


def tag_of(path: str) -> str:
    """Return the group that a call is in by its path: ``identities`` for ``/v1/identities/{id}``."""
    _, version, *rest = path.split("/")
    return rest[0] if version == "v1" else "operations"


def statuses_of(call: Call) -> Iterator[int]:
    """Yield the statuses of the errors that a call can answer with."""
    yield 400
    if not call.is_open:
        yield from (401, 403)
        if call.names_tenant or _PARAMETER.search(call.path):
            yield 404
    if call.method not in _SAFE or call.is_long:
        yield 409
    if call.request is not None:
        yield from (413, 415)
    if call.is_idempotent:
        yield 422
    if not call.is_open and "rate_limited" in STATUS:
        yield 429
    yield from (500, 503)


def _operation(call: Call, words: Words, schema_of: Callable[[object], Document]) -> Document:
    examples = words.examples.get(key_of(call), ())
    summary, _, description = (inspect.getdoc(call.run) or "").partition("\n\n")
    operation: Document = {
        "operationId": call.operation or getattr(call.run, "__name__", call.path),
        "summary": " ".join(summary.split()),
        "tags": [call.tag or tag_of(call.path)],
        "parameters": [*_parameters(call, words, schema_of)],
    }
    if description:
        operation["description"] = description
    if call.is_open:
        operation["security"] = []
    if call.request is not None:
        content: Document = {"schema": schema_of(call.request)} | _examples(examples, "request")
        operation["requestBody"] = {"required": _is_required(call.request), "content": {JSON: content}}
    operation["responses"] = {str(call.status): _success(call, examples, schema_of)}
    for status in statuses_of(call):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/Error{status}"}
    for status, answer in call.further.items():
        operation["responses"][str(status)] = _further(call, answer, schema_of)
    return operation


def _parameters(call: Call, words: Words, schema_of: Callable[[object], Document]) -> Iterator[Document]:
    for name in _PARAMETER.findall(call.path):
        schema = schema_of(words.in_path.get(name, str))
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    names = set(call.query)
    if call.names_tenant and not call.is_open:
        names.add("tenant_id")
    for name in sorted(names):
        schema = schema_of(words.in_query.get(f"{call.path}?{name}", words.in_query.get(name, str)))
        yield {"name": name, "in": "query", "required": False, "schema": schema}
    if call.is_idempotent:
        yield {"$ref": "#/components/parameters/IdempotencyKey"}
    yield {"$ref": "#/components/parameters/RequestId"}


def _success(call: Call, examples: tuple[Example, ...], schema_of: Callable[[object], Document]) -> Document:
    names = ("Idempotent-Replayed",) if call.is_idempotent else ()
    found: Document = {"description": "Done.", "headers": _headers(*names)}
    if call.answer is not None:
        found["content"] = {call.content_type: {"schema": schema_of(call.answer)} | _examples(examples, "answer")}
    return found


def _further(call: Call, answer: object, schema_of: Callable[[object], Document]) -> Document:
    if answer is None:
        return {"description": "As before.", "headers": _headers()}
    content = {call.content_type: {"schema": schema_of(answer)}}
    return {"description": inspect.getdoc(answer) or "", "headers": _headers(), "content": content}


def _examples(examples: tuple[Example, ...], part: str) -> Document:
    shown = {
        f"example{number}": {"summary": example.summary, "value": getattr(example, part)}
        for number, example in enumerate(examples, start=1)
        if getattr(example, part) is not None
    }
    return {"examples": shown} if shown else {}


def _is_required(request: type) -> bool:
    """Whether a body must be sent: a call without required fields takes none for an empty object."""
    return any(field.required for field in msgspec.structs.fields(request))


def _by_status() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for code, status in STATUS.items():
        if code not in NEVER_SHOWN:
            found.setdefault(status, []).append(code)
    return found


def _error(status: int, codes: list[str], schema_of: Callable[[object], Document]) -> Document:
    kinds = {kind.code: inspect.getdoc(kind) or "" for kind in _family(SidecarError)}
    examples = {
        code: {
            "value": {"error": kinds[code].rstrip(".").lower(), "type": code, "request_id": "req_01K9Z3J4M5N6P7Q8R9"}
        }
        for code in codes
    }
    narrowed = {"properties": {"type": {"enum": codes}}}
    return {
        "description": " ".join(kinds[code] for code in codes),
        "headers": _headers(*_SENT_WITH.get(status, ())),
        "content": {JSON: {"schema": {"allOf": [schema_of(Error), narrowed]}, "examples": examples}},
    }


def _family(kind: type[SidecarError]) -> Iterator[type[SidecarError]]:
    yield kind
    for child in kind.__subclasses__():
        if "code" in child.__dict__:
            yield from _family(child)


def _headers(*names: str) -> Document:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-Id", *names)}


_BEARER: Final = "An operator's token, a tenant key (`sk_…`) or an agent token (`at_…`)."
_SENT_WITH: Final = {
    401: ("WWW-Authenticate",),
    405: ("Allow",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}
_TEXT: Final = {"type": "string"}
_HEADERS_IN: Final = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same key with the same content is answered with the stored answer for 24 hours.",
        "schema": {"type": "string", "pattern": _PRINTABLE},
    },
    "RequestId": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "Echoed, where it can stand in a log: 1 to 128 of `A-Za-z0-9._:/-`. Made otherwise.",
        "schema": _TEXT,
    },
}
_HEADERS_OUT: Final = {
    "X-Request-Id": {"description": "The caller's, or one that was made.", "required": True, "schema": _TEXT},
    "Idempotent-Replayed": {"description": "This is the stored answer.", "schema": {"enum": ["true"]}},
    "WWW-Authenticate": {"description": "`Bearer`", "required": True, "schema": _TEXT},
    "Allow": {"description": "The methods of this path.", "required": True, "schema": _TEXT},
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "RateLimit": {"description": "What each limit admits now, and in how many seconds more.", "schema": _TEXT},
    "RateLimit-Policy": {"description": "The limits that hold for this caller.", "schema": _TEXT},
}
