"""The policy engine: compiles Cedar schemas, parses policies, asks Cedar for a ruling. Nothing else imports cedarpy.

Invariants: no text reaches Cedar's parser before ``sidecar.core.policy_text`` has checked it; a ruling is ``allow``
only when Cedar allows, a policy says so, and none failed, because Cedar skips a ``forbid`` that fails (DESIGN rule 1).
Policies are known by their own ids everywhere outside: what Cedar calls them, ``policy7``, is translated here. What
a file of policies has to be is for ``sidecar.core.policy_compilation``, which policies and entities are asked together
for ``sidecar.core.policy_set`` and ``sidecar.core.slicing``.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any, Final, Literal

import cedarpy
import msgspec
import orjson
from cedarpy import _internal

from sidecar.core import policy_text, policy_tree, schema
from sidecar.core.errors import PolicyInvalid, Unavailable, ValidationFailed
from sidecar.core.forms import Forms
from sidecar.core.literals import entity
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_text import refusal
from sidecar.core.ruling import CedarRequest, PolicyFault, Ruling
from sidecar.core.schema import EXTENSION_FUNCTIONS, ExtensionName, SchemaModel

_POSITION: Final = "policy"
_LINK: Final = "link"
_SCHEMA_UNPARSED: Final = "error parsing schema: "
_REQUEST_UNFIT: Final = "failed to build request: "
_VALIDATION: Final = re.compile(r"for policy `[^`]*`, ")
_FAULT: Final = re.compile(r"error while evaluating policy `([^`]*)`: (.*)", re.DOTALL)


class CompiledSchema(msgspec.Struct, frozen=True):
    """A schema that passed: what it declares, its source text, Cedar's parsed form, and the forms of requests."""

    model: SchemaModel
    text: str
    handle: cedarpy.Schema
    forms: Forms


PolicySource = tuple[tuple[str, ...], tuple[tuple[int, EntityUid], ...]]
"""Texts of policies and templates, and the templates' fillings: the position of one and its principal."""


class EntitySlice(msgspec.Struct, frozen=True, gc=False):
    """The entities of one request, parsed."""

    handle: cedarpy.Entities

    def with_resource(self, resource: dict[str, object]) -> "EntitySlice":
        """Return them with a resource of Cedar's JSON format, whose attributes were held against the schema before."""
        return EntitySlice(self.handle.with_added_json_str(orjson.dumps([resource]).decode()))


class Diagnostics(msgspec.Struct, frozen=True, gc=False):
    """Which policies decided and why others failed, as Cedar words it."""

    errors: tuple[str, ...]
    reason: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Those parts of Cedar's answer that anybody here reads."""

    decision: Literal["Allow", "Deny", "NoDecision"]
    diagnostics: Diagnostics


_answer: Final = msgspec.json.Decoder(Answer)


Unknown = Literal["principal", "resource"]
"""What a partial question leaves open."""


class PolicyHandle(msgspec.Struct, frozen=True):
    """Policies, parsed."""

    handle: cedarpy.PolicySet


@cache
def engine() -> str:
    """Return the name and version of the policy engine, for records that must name what decided."""
    return f"cedarpy {metadata.version('cedarpy')}"


def compile_schema(files: Sequence[tuple[str, str]]) -> CompiledSchema:
    """Return the one schema that ``files``, pairs of path and text, make together.

    Raises PolicyInvalid, naming the place, for what Cedar refuses, for namespaces, and when identities could not be
    described by it.
    """
    for path, text in files:
        policy_text.check_schema_limits(text, path)
    whole = "\n".join(text for _, text in files)
    try:
        handle = cedarpy.Schema.from_str(whole)
    except ValueError as error:
        message = str(error).removeprefix(_SCHEMA_UNPARSED)
        raise _schema_refusal(message, files, offset_of_schema_error(whole, message)) from error
    digest = f"sha256:{hashlib.sha256(whole.encode()).hexdigest()}"
    try:
        model = schema.describe(str(handle), digest)
    except ValidationFailed as error:
        place = policy_text.offset_of_quoted(whole, "`namespace`")
        raise _schema_refusal(error.message, files, place) from error
    fault = schema.first_fault(model)
    if fault is not None:
        raise _schema_refusal(fault, files, policy_text.offset_of_quoted(whole, fault))
    return CompiledSchema(model, whole, handle, Forms(model))


def schema_parse_error(text: str) -> str | None:
    """Return what Cedar's parser says against the text of a schema within the limits; None where it parses.

    Whether the types that it names are declared is another question.
    """
    try:
        cedarpy.Schema.from_str(text)
    except ValueError as error:
        message = str(error)
        return message.removeprefix(_SCHEMA_UNPARSED) if message.startswith(_SCHEMA_UNPARSED) else None
    return None


def offset_of_schema_error(text: str, message: str) -> int:
    """Return where in a schema's text the ``message`` of ``schema_parse_error`` belongs."""
    return policy_text.locate(text, message, _breaks_schema)


def _breaks_schema(text: str) -> bool:
    return schema_parse_error(text) not in {None, policy_text.UNEXPECTED_END}


def _schema_refusal(message: str, files: Sequence[tuple[str, str]], offset: int) -> PolicyInvalid:
    for path, text in files:
        if offset <= len(text):
            return refusal(message, path, policy_text.place(text, offset))
        offset -= len(text) + 1
    return refusal(message, "schema", (1, 1))


def trees(text: str) -> list[policy_tree.Tree]:
    """Return every policy of a text that is within the limits in Cedar's JSON form, in their order.

    Raises ValueError where one does not parse.
    """
    found = orjson.loads(cedarpy.policies_to_json_str(text))
    by_engine_id = found["staticPolicies"] | found["templates"]
    return [by_engine_id[f"{_POSITION}{index}"] for index in range(len(by_engine_id))]


def offset_of_parse_error(text: str, message: str) -> int:
    """Return where in one statement the ``message`` of ``parse_error`` belongs."""
    return policy_text.locate(text, message, _breaks_policy)


def parse_error(text: str) -> str | None:
    """Return what Cedar's parser says against ``text``, which is within the limits; None where it parses."""
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return None


def _breaks_policy(text: str) -> bool:
    return parse_error(text) not in {None, policy_text.UNEXPECTED_END}


def validation_errors(text: str, compiled: CompiledSchema) -> list[tuple[int, str]]:
    """Return everything that the strict validator says against policies that parse: which one, from 0, and what.

    What it says against a text that does not parse is said of the policy -1.
    """
    errors = cedarpy.validate_policies(text, compiled.handle).errors
    return [(_position(error.policy_id), _VALIDATION.sub("", error.error)) for error in errors]


def laid_out(text: str, width: int) -> str:
    """Return one statement as Cedar's formatter writes it in lines of ``width``, without the last line's end.

    It must be within the limits. The formatter can lose a comment or a comma: who keeps the result looks at it first.
    Raises ValueError where the text does not parse.
    """
    return cedarpy.format_policies(text, width).strip()


def _position(engine_id: str) -> int:
    return int(engine_id.removeprefix(_POSITION) or -1)


def parse_policies(source: PolicySource) -> PolicyHandle:
    """Return compiled policies parsed together, with their templates filled in.

    Cedar reads them from text: its JSON form of policies stops at a depth that ordinary chains of ``||`` reach.
    """
    texts, fillings = source
    handle = cedarpy.PolicySet.from_str("\n".join(texts))
    links: list[dict[str, object]] = [
        {
            "template_id": f"{_POSITION}{template}",
            "new_id": f"{_LINK}{index}",
            "values": {"?principal": {"type": kind, "id": name}},
        }
        for index, (template, (kind, name)) in enumerate(fillings)
    ]
    return PolicyHandle(handle.with_linked_batch(links) if links else handle)


def engine_ids(texts: Sequence[str], links: Sequence[str]) -> dict[str, str]:
    """Return the ids of policies by what Cedar calls them: those of texts, then those of filled templates."""
    ids = {f"{_POSITION}{index}": own for index, own in enumerate(texts)}
    return ids | {f"{_LINK}{index}": own for index, own in enumerate(links)}


def ask(
    policies: PolicyHandle,
    ids: Mapping[str, str],
    request: CedarRequest,
    entities: EntitySlice,
    compiled: CompiledSchema | None,
) -> Ruling:
    """Return what policies say of a request; ``ids`` are their own ids by what Cedar calls them.

    Raises ValidationFailed, with Cedar's sentence, for a request that does not fit ``compiled``; with None nothing is
    checked.
    """
    (kind, name), (other_kind, other) = request.principal, request.resource
    asked: dict[str, Any] = {
        "principal": {"type": kind, "id": name},
        "action": {"type": "Action", "id": request.action},
        "resource": {"type": other_kind, "id": other},
    }
    if request.context:  # as text, which the binding wants; none at all is the empty one, and is read faster
        asked["context"] = orjson.dumps(request.context).decode()
    answer = authorize(asked, policies.handle, entities.handle, None if compiled is None else compiled.handle)
    diagnostics = answer.diagnostics
    if answer.decision == "NoDecision":
        sentence = diagnostics.errors[0].removeprefix(_REQUEST_UNFIT)
        raise ValidationFailed(sentence, field="context" if "context" in sentence else None)
    allowed = answer.decision == "Allow"
    reasons = tuple(sorted(map(ids.__getitem__, diagnostics.reason)))
    if diagnostics.errors:
        faults = sorted((_fault(error, ids) for error in diagnostics.errors), key=lambda fault: fault.policy_id)
        return Ruling("deny", () if allowed else reasons, tuple(faults))
    return Ruling("allow" if allowed and reasons else "deny", reasons)


def authorize(
    asked: dict[str, Any],
    policies: cedarpy.PolicySet,
    entities: cedarpy.Entities,
    compiled: cedarpy.Schema | None,
) -> Answer:
    """Return Cedar's answer: the binding's public function reads it a third of Cedar's own time slower."""
    (answer,) = _internal.is_authorized_batch([asked], policies, entities._inner, compiled, verbose=False)  # noqa: SLF001
    return _answer.decode(answer)


def ask_partially(
    policies: PolicyHandle, request: CedarRequest, unknown: Unknown, entities: EntitySlice
) -> dict[str, policy_tree.Tree]:
    """Return what is left of each policy, by what Cedar calls it, where one part of a request is ``unknown``.

    That part of ``request`` is not looked at, nor is anything held against the schema; an entity that is not among
    ``entities`` is unknown as well. What Cedar could not evaluate is left out. A preview and no ruling: Cedar calls it
    experimental, so nobody may be permitted anything by it.
    """
    asked: dict[str, str | None] = {
        "principal": entity(*request.principal),
        "action": entity("Action", request.action),
        "resource": entity(*request.resource),
        "context": orjson.dumps(request.context).decode(),
    }
    asked[unknown] = None
    answer = _internal.is_authorized_partial(asked, policies.handle, entities.handle._inner, None, verbose=False)  # noqa: SLF001
    try:
        preview = orjson.loads(answer)
    except orjson.JSONDecodeError:  # nested deeper than JSON is read
        return {}
    # What it could not evaluate is shown as false.
    failed = {match[1] for each in preview["diagnostics"]["errors"] if (match := _FAULT.fullmatch(each))}
    return {name: left for name, left in preview.get("residuals", {}).items() if name not in failed}


def _fault(sentence: str, ids: Mapping[str, str]) -> PolicyFault:
    match = _FAULT.fullmatch(sentence)
    if match is None:
        raise Unavailable("the policy engine reports an error without naming its policy")
    return PolicyFault(ids[match[1]], match[2])


def entity_slice(entities: Sequence[dict[str, object]], compiled: CompiledSchema) -> EntitySlice:
    """Return entities of Cedar's JSON format, parsed; raises ValidationFailed when they do not fit the schema."""
    try:
        return EntitySlice(cedarpy.Entities.from_json_str(orjson.dumps(entities).decode(), compiled.handle))
    except ValueError as error:
        raise ValidationFailed(f"the entities do not fit the schema: {error}") from error


def check_extension(name: ExtensionName, text: str) -> bool:
    """Whether ``text`` makes a value of an extension type, such as ``10.0.0.1`` of ``ipaddr``."""
    value = {"__extn": {"fn": EXTENSION_FUNCTIONS[name], "arg": text}}
    entity = {"uid": {"type": "Probe", "id": ""}, "attrs": {"value": value}, "parents": []}
    try:
        cedarpy.Entities.from_json_str(orjson.dumps([entity]).decode())
    except ValueError:
        return False
    return True
