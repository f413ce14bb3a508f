"""The settings of a tenant's AuthZEN door, as its operator writes them; see ``shapes``."""

from typing import Annotated

import msgspec

from sidecar.core.authzen import NAMES_MAX

PropertyNames = Annotated[
    tuple[str, ...],
    msgspec.Meta(max_length=NAMES_MAX, description="names of properties that take part in decisions, none unless said"),
]


class AuthzenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the callers of AuthZEN may say in a tenant; it takes the place of all that was there."""

    subject_properties: PropertyNames = ()
    resource_properties: PropertyNames = ()
    item_context: bool = False
