"""From a tool call to the request that is decided, by the entry that holds for the tool."""

from collections.abc import Mapping
from typing import Final

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name
from sidecar.core.limits import BODY_BYTES_MAX
from sidecar.core.model import AuthorizeRequest, Json, ResourceRef, check_plain
from sidecar.core.money import AnyMajor, major_text
from sidecar.doors.mcp.mapping import TOOL, Constant, Entry, exact
from sidecar.doors.mcp.paths import Place
from sidecar.doors.native import drafts

ARGUMENTS: Final = "params.arguments"
"""Where the arguments of a call stand in its message."""


_NOTHING: Final = "0"


class ToolCall(msgspec.Struct, frozen=True):
    """Which tool is called with what; ``server`` is the name that whoever passes the call on has for its server."""

    tool: str
    server: str | None
    arguments: Mapping[str, object]


class Probe(msgspec.Struct, frozen=True):
    """The question whether a tool is shown. It ``is_open`` where the arguments of a call say more than it."""

    request: AuthorizeRequest
    is_open: bool


def request_of(entry: Entry, call: ToolCall, identity_id: str) -> AuthorizeRequest:
    """Return the request that stands for a call.

    Raises ValidationFailed, naming the place, where the arguments have not what the entry declares, or not as such.
    """
    arguments = call.arguments
    currency = None if entry.currency is None else _currency(entry.currency, arguments)
    request = AuthorizeRequest(
        identity_id=identity_id,
        action=entry.action,
        resource=ResourceRef(entry.resource_type, _resource_id(entry, call)),
        amount_minor=None if currency is None else _amount(entry, arguments, currency),
        currency=currency,
        merchant_category=None
        if entry.merchant_category is None
        else drafts.merchant_category(_text(entry.merchant_category, arguments), ARGUMENTS),
        quantities={
            name: _whole(source, arguments, f"{ARGUMENTS}, quantity `{name}`")
            for name, source in entry.quantities.items()
        },
        attributes=_attributes(entry, call) | _claims(entry.attributes, arguments),
        context=_claims(entry.context, arguments),
        ttl_seconds=entry.hold_seconds,
    )
    if len(request.canonical()) > BODY_BYTES_MAX:
        raise ValidationFailed(f"what policies look at is over {BODY_BYTES_MAX} bytes", field=ARGUMENTS)
    return request


def probe_of(entry: Entry, tool: str, server: str | None, identity_id: str) -> Probe:
    """Return the question whether a tool is shown: with the entry's sample, or else for an amount of nothing.

    Raises ValidationFailed as ``request_of``.
    """
    if entry.sample is not None:
        return Probe(request_of(entry, ToolCall(tool, server, entry.sample), identity_id), is_open=False)
    fixed = isinstance(entry.currency, str)
    named = (entry.resource_id, entry.merchant_category, *entry.attributes.values(), *entry.context.values())
    known = msgspec.structs.replace(
        entry,
        resource_id=TOOL if isinstance(entry.resource_id, Place) else entry.resource_id,
        amount=_NOTHING if fixed else None,
        amount_minor=None,
        currency=entry.currency if fixed else None,
        merchant_category=None if isinstance(entry.merchant_category, Place) else entry.merchant_category,
        quantities=dict.fromkeys(entry.quantities, 0),
        attributes=_constants(entry.attributes),
        context=_constants(entry.context),
    )
    is_open = any(isinstance(source, Place) for source in (entry.currency, *named))
    return Probe(request_of(known, ToolCall(tool, server, {}), identity_id), is_open)


def _constants(sources: Mapping[str, Place | Constant]) -> dict[str, Place | Constant]:
    return {name: source for name, source in sources.items() if not isinstance(source, Place)}


def _resource_id(entry: Entry, call: ToolCall) -> str:
    match entry.resource_id:
        case Place() as source:
            return check_name(_text(source, call.arguments), ARGUMENTS)
        case words if words == TOOL:
            return call.tool
        case _ if call.server is not None:
            return check_name(f"{call.server}/{call.tool}", "params.name")
        case _:
            raise ValidationFailed("the tools of this mapping are known by server and name", field="server")


def _attributes(entry: Entry, call: ToolCall) -> dict[str, Json]:
    """Return what is known of a tool itself; of what else a resource may be, the entry says everything."""
    return {"server": call.server} if entry.resource_type == TOOL and call.server is not None else {}


def _amount(entry: Entry, arguments: Mapping[str, object], currency: str) -> int:
    if entry.amount_minor is not None:
        units = _whole(entry.amount_minor, arguments, f"{ARGUMENTS}, amount")
        return AnyMajor(major_text(units, currency)).minor(currency, ARGUMENTS)
    value = entry.amount.value(arguments, ARGUMENTS) if isinstance(entry.amount, Place) else entry.amount
    return exact(value, f"{ARGUMENTS}, amount").minor(currency, ARGUMENTS)


def _currency(source: Place | str, arguments: Mapping[str, object]) -> str:
    """Return a currency code; a tool may take it in lower case."""
    code = _text(source, arguments)
    code = code.upper() if code.isascii() else code
    places(code, ARGUMENTS)
    return code


def _whole(source: Place | Constant, arguments: Mapping[str, object], field: str) -> int:
    value = source.value(arguments, ARGUMENTS) if isinstance(source, Place) else source
    return exact(value, field).integer(field)


def _text(source: Place | str, arguments: Mapping[str, object]) -> str:
    if isinstance(source, str):
        return source
    value = source.value(arguments, ARGUMENTS)
    if not isinstance(value, str):
        raise ValidationFailed(f"`{source.text}` is of type `{type(value).__name__}`, expected a text", field=ARGUMENTS)
    return value


def _claims(sources: Mapping[str, Place | Constant], arguments: Mapping[str, object]) -> dict[str, Json]:
    """Return what a call claims, as plain data."""
    found = {
        name: source.value(arguments, ARGUMENTS) if isinstance(source, Place) else source
        for name, source in sources.items()
    }
    return {name: check_plain(value, f"{ARGUMENTS}, `{name}`") for name, value in found.items()}
