"""The served API description as a judge of requests that were accepted, and of every answer.

Answers are judged more strictly than the description says: a field that it does not name is a fault here, though
clients must bear with it, since otherwise nobody would notice what was forgotten.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import jsonschema_rs

from tests.process.server import Answer, Document

OPEN = {"AuditRecord"}
"""Answers with fields that only their ``type`` knows."""

NOT_DESCRIBED = (
    "/docs",
    "/ledger/",
    "/tledger/",
    "/tally/",
    "/.well-known/authzen-",
    "/access/v1/",
    "/{tenant_id}/access/v1/",
    "/card-network/",
    "/envoy",
    "/forward-auth",
    "/mcp/",
)
"""The reference page itself, and what others describe: dialects, AuthZEN, networks, proxies. What begins like one."""

OPENMETRICS = "application/openmetrics-text"
"""What whoever asks for it gets in place of plain text."""

METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}
BAD_METHOD = 405


class Operation(NamedTuple):
    """One call as it is described."""

    method: str
    path: str
    said: Document


class Contract:
    """A description with its schemas made ready."""

    def __init__(self, description: Document) -> None:
        """Read ``description``."""
        self.description = description
        self._closed = _closed(description)
        self._validators: dict[str, jsonschema_rs.Validator] = {}
        self._paths = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path))), path)
            for path in sorted(description["paths"], key=lambda path: path.count("{"))
        ]

    def operations(self) -> Iterator[Operation]:
        """Yield what is described."""
        for path, methods in self.description["paths"].items():
            for method, said in methods.items():
                assert method in METHODS, method
                yield Operation(method.upper(), path, said)

    def operation(self, method: str, path: str) -> Operation | None:
        """Return what a request asks for, None for what is not described."""
        for pattern, template in self._paths:
            if pattern.fullmatch(path):
                said = self.description["paths"][template].get(method.lower())
                return None if said is None else Operation(method, template, said)
        return None

    def check(self, method: str, target: str, body: object, answer: Answer) -> None:
        """Fail unless ``answer`` keeps to the description; what was accepted must be described as acceptable."""
        url = urlsplit(target)
        operation = self.operation(method, url.path)
        if operation is None:
            if not url.path.startswith(NOT_DESCRIBED) and "/access/v1/" not in url.path:
                assert answer.status in {404, BAD_METHOD}, f"{method} {url.path} is served and not described"
            return
        name = f"{method} {operation.path}"
        responses = operation.said["responses"]
        assert str(answer.status) in responses, f"{name} does not describe {answer.status}: {answer.body!r}"
        response = self._resolved(responses[str(answer.status)])
        for header, said in response.get("headers", {}).items():
            if self._resolved(said).get("required"):
                assert header.lower() in answer.headers, (name, answer.status, header)
        self._check_content(name, answer, response.get("content", {}))
        if answer.status < 300:
            self._check_accepted(name, operation, url.query, body)

    def _check_content(self, name: str, answer: Answer, content: Document) -> None:
        if not content:
            assert answer.body == b"", (name, answer)
            return
        declared = answer.headers["content-type"].partition(";")[0]
        assert declared in content or (declared == OPENMETRICS and "text/plain" in content), (name, declared)
        if declared == "application/json":
            self.validate(content[declared]["schema"], json.loads(answer.body), f"{name} {answer.status}", closed=True)

    def _check_accepted(self, name: str, operation: Operation, query: str, body: object) -> None:
        known = {said["name"]: said for said in self.parameters(operation, "query")}
        for field, value in parse_qsl(query, keep_blank_values=True):
            # Every call bears with `tenant_id`, also where no tenant is meant.
            assert field in known or field == "tenant_id", f"{name} takes the query field {field}"
            if field in known:
                schema = known[field]["schema"]
                read: object = int(value) if schema.get("type") == "integer" else value
                self.validate(schema, read, f"{name}?{field}", closed=False)
        if isinstance(body, dict):
            media = operation.said["requestBody"]["content"]["application/json"]
            self.validate(media["schema"], body, f"{name} body", closed=False)

    def parameters(self, operation: Operation, place: str) -> list[Document]:
        """Return the parameters of a call that are in ``place``."""
        found = [self._resolved(said) for said in operation.said.get("parameters", [])]
        return [said for said in found if said["in"] == place]

    def validate(self, schema: Document, value: object, name: str, *, closed: bool) -> None:
        """Fail unless ``value`` fits; ``closed`` refuses fields that are not described."""
        key = json.dumps([schema, closed], sort_keys=True)
        if key not in self._validators:
            root = self._closed if closed else self.description
            whole = {"components": {"schemas": root["components"]["schemas"]}, **schema}
            self._validators[key] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        faults = [f"{list(fault.instance_path)}: {fault.message}" for fault in self._validators[key].iter_errors(value)]
        assert not faults, (name, faults[:3], value)

    def _resolved(self, said: Document) -> Document:
        if "$ref" not in said:
            return said
        found: Any = self.description
        for part in said["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        resolved: Document = found
        return resolved


def _closed(description: Document) -> Document:
    """Return the description with every object schema of an answer refusing what it does not name."""
    copy: Document = json.loads(json.dumps(description))
    for name, schema in copy["components"]["schemas"].items():
        if "properties" in schema and name not in OPEN:
            schema.setdefault("additionalProperties", False)
    return copy
