"""From a tool call to the request that is decided, by the entry that holds for the tool."""

from collections.abc import Mapping
from typing import Final

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import ValidationFailed
from sidecar.core.ids import check_name, check_type
from sidecar.core.limits import BODY_BYTES_MAX
from sidecar.core.model import AuthorizeRequest, Json, ResourceRef, check_plain
from sidecar.core.money import AnyMajor
from sidecar.doors.mcp.mapping import SERVER_AND_TOOL, TOOL, Constant, Entry
from sidecar.doors.mcp.paths import Place
from sidecar.doors.native import drafts

ARGUMENTS: Final = "params.arguments"
"""Where the arguments of a call stand in its message."""


class ToolCall(msgspec.Struct, frozen=True):
    """Which tool is called with what; ``server`` is the name that whoever passes the call on has for its server."""

    tool: str
    server: str | None
    arguments: Mapping[str, object]


class Probe(msgspec.Struct, frozen=True):
    """The question whether a tool is shown. It ``is_open`` where the arguments of a call would say more than it does."""

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
            name: _whole(source, arguments, f"{ARGUMENTS}, quantity `{name}`") for name, source in entry.quantities.items()
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
    raise NotImplementedError


def _currency(source: Place | str, arguments: Mapping[str, object]) -> str:
    raise NotImplementedError
