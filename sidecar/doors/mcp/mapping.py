"""How a tool call becomes a request: the table ``mcp`` of the mapping file, read and checked once at start.

An entry says for which tools it holds and where in their arguments the amount, the currency and whatever policies look
at stand. What is declared must be there: a call without it is denied, for a tool that is called without an amount could
spend one that it has by default.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from sidecar.core.currencies import places
from sidecar.core.errors import ConfigurationInvalid, SidecarError, ValidationFailed
from sidecar.core.ids import check_action, check_type
from sidecar.core.limits import RESERVATION_TTL_SECONDS_DEFAULT, RESERVATION_TTL_SECONDS_MAX
from sidecar.core.money import AnyMajor, NumberText
from sidecar.doors.mcp.paths import Place, place
from sidecar.doors.wire import typed

Settle: TypeAlias = Literal["at_once", "on_result", "later"]
"""When what a call holds is settled by whoever passes it on."""

Constant: TypeAlias = str | int | bool
Hold: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=RESERVATION_TTL_SECONDS_MAX)]

TOOLS_MAX: Final = 1_000
"""Entries of one file: they are looked through in their order."""

TOOL: Final = "tool"
SERVER_AND_TOOL: Final = "server/tool"


class ToolBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry as the file writes it. A text that begins with ``$`` is a path, every other value a constant."""

    name: str
    server: str | None = None
    action: str | None = None
    resource_type: str | None = None
    resource_id: str | None = None
    settle: Settle | None = None
    hold_seconds: Hold | None = None
    amount: str | None = None
    amount_minor: str | None = None
    currency: str | None = None
    merchant_category: str | None = None
    quantities: dict[str, str | int] = {}
    attributes: dict[str, Constant] = {}
    context: dict[str, Constant] = {}
    sample: dict[str, object] | None = None


class TableBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table as the file writes it: what holds for entries that do not say it, and the entries."""

    unlisted: Literal["deny", "ask"] = "deny"
    action: str = "tool.call"
    resource_type: str = TOOL
    resource_id: str = TOOL
    settle: Settle = "on_result"
    hold_seconds: Hold = RESERVATION_TTL_SECONDS_DEFAULT
    tools: tuple[ToolBody, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """How calls of the tools that ``name`` fits are asked. ``amount`` is in major units, ``amount_minor`` in minor.

    ``sample`` are arguments for the question whether the tool is shown at all.
    """

    name: str
    server: str | None = None
    action: str
    resource_type: str
    resource_id: Place | str
    settle: Settle
    hold_seconds: int
    amount: Place | str | None = None
    amount_minor: Place | None = None
    currency: Place | str | None = None
    merchant_category: Place | str | None = None
    quantities: Mapping[str, Place | Constant] = {}
    attributes: Mapping[str, Place | Constant] = {}
    context: Mapping[str, Place | Constant] = {}
    sample: Mapping[str, object] | None = None

    def fits(self, server: str | None, tool: str) -> bool:
        """Whether it holds for a tool of a server; one that names a server holds for no unnamed one."""
        if self.server is not None and (server is None or not fnmatchcase(server, self.server)):
            return False
        return fnmatchcase(tool, self.name)


class Tools(msgspec.Struct, frozen=True):
    """The entries in their order, of which the first that fits holds; ``unlisted`` is None where those are denied."""

    entries: tuple[Entry, ...] = ()
    unlisted: Entry | None = None

    def find(self, server: str | None, tool: str) -> Entry | None:
        """Return how calls of a tool are asked, None where they are denied unasked."""
        return next((entry for entry in self.entries if entry.fits(server, tool)), self.unlisted)


def read_tools(table: Mapping[str, object]) -> Tools:
    """Return what the table ``mcp`` says. Raises ConfigurationInvalid, naming the place, for what it cannot say."""
    try:
        body = typed.convert(dict(table), TableBody)
    except ValidationFailed as error:
        place_of = "mcp" if error.field is None else f"mcp.{error.field}"
        raise ConfigurationInvalid(f"`{place_of}`: {error.message}") from error
    if len(body.tools) > TOOLS_MAX:
        raise ConfigurationInvalid(f"`mcp.tools`: at most {TOOLS_MAX} entries")
    entries = tuple(_entry(each, body, f"mcp.tools[{index}]") for index, each in enumerate(body.tools))
    seen: dict[tuple[str | None, str], int] = {}
    for index, entry in enumerate(entries):
        first = seen.setdefault((entry.server, entry.name), index)
        if first != index:
            raise ConfigurationInvalid(f"`mcp.tools[{index}]`: `{entry.name}` is listed before, in `tools[{first}]`")
    unlisted = _entry(ToolBody(name="*"), body, "mcp")
    return Tools(entries, unlisted if body.unlisted == "ask" else None)


def _entry(body: ToolBody, table: TableBody, field: str) -> Entry:
    """Return an entry, with what the table says where it says nothing."""
    resource_id = body.resource_id or table.resource_id
    if resource_id not in {TOOL, SERVER_AND_TOOL} and not resource_id.startswith("$"):
        expected = f"expected `{TOOL}`, `{SERVER_AND_TOOL}` or a path"
        raise ConfigurationInvalid(f"`{field}.resource_id`: `{resource_id}`, {expected}")
    entry = Entry(
        name=body.name,
        server=body.server,
        action=body.action or table.action,
        resource_type=body.resource_type or table.resource_type,
        resource_id=_text(resource_id, f"{field}.resource_id"),
        settle=body.settle or table.settle,
        hold_seconds=body.hold_seconds or table.hold_seconds,
        amount=None if body.amount is None else _text(body.amount, f"{field}.amount"),
        amount_minor=None if body.amount_minor is None else place(body.amount_minor, f"{field}.amount_minor"),
        currency=None if body.currency is None else _text(body.currency, f"{field}.currency"),
        merchant_category=None
        if body.merchant_category is None
        else _text(body.merchant_category, f"{field}.merchant_category"),
        quantities={name: _source(value, f"{field}.quantities.{name}") for name, value in body.quantities.items()},
        attributes={name: _source(value, f"{field}.attributes.{name}") for name, value in body.attributes.items()},
        context={name: _source(value, f"{field}.context.{name}") for name, value in body.context.items()},
        sample=None if body.sample is None else {name: _exact(value) for name, value in body.sample.items()},
    )
    try:
        _check(entry)
    except SidecarError as error:
        raise ConfigurationInvalid(f"`{field}.{error.field}`: {error.message}") from error
    return entry


def _check(entry: Entry) -> None:
    """Raise ValidationFailed, naming the field, for what no request could be made of."""
    check_action(entry.action, "action")
    check_type(entry.resource_type, "resource_type")
    if entry.amount is not None and entry.amount_minor is not None:
        raise ValidationFailed("`amount` or `amount_minor`, one of them", field="amount_minor")
    if (entry.amount is None and entry.amount_minor is None) != (entry.currency is None):
        raise ValidationFailed("an amount and its currency are given together", field="currency")
    if isinstance(entry.currency, str):
        places(entry.currency, "currency")
    if isinstance(entry.amount, str):
        amount = exact(entry.amount, "amount")
        if isinstance(entry.currency, str):
            amount.minor(entry.currency, "amount")
    for name, value in entry.quantities.items():
        check_type(name, "quantities")
        if not isinstance(value, Place):
            exact(value, f"quantities.{name}").integer(f"quantities.{name}")


def exact(value: object, field: str) -> AnyMajor:
    """Return the figure that ``value`` writes. Raises ValidationFailed, naming ``field``, where it writes none."""
    try:
        return AnyMajor.parse(value)
    except ValueError as error:
        raise ValidationFailed(str(error), field=field) from error


def _text(value: str, field: str) -> Place | str:
    return place(value, field) if value.startswith("$") else value


def _source(value: Constant, field: str) -> Place | Constant:
    return place(value, field) if isinstance(value, str) and value.startswith("$") else value


def _exact(value: object) -> object:
    """Return a value of the file as one of a call: a fraction keeps its text."""
    match value:
        case float():
            return NumberText(repr(value))
        case dict():
            return {name: _exact(each) for name, each in value.items()}
        case list():
            return [_exact(each) for each in value]
        case _:
            return value
