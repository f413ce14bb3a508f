"""Examples of the API description: one tenant, the calls that it may make, and what each is answered.

The tests make every call as it stands here, ids that the sidecar makes apart, and compare the answer; so an example
cannot say what is no longer so. Ids that a caller may choose are literal.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples import (
    card_programs,
    decisions,
    followers,
    grants,
    payments,
    replica,
    reservations,
    resources,
    shadow,
    treasury,
    webhooks,
)
from sidecar.doors.wire.openapi import Example

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        **resources.EXAMPLES,
        **treasury.EXAMPLES,
        **card_programs.EXAMPLES,
        **payments.EXAMPLES,
        **decisions.EXAMPLES,
        **grants.EXAMPLES,
        **replica.EXAMPLES,
        **shadow.EXAMPLES,
        **followers.EXAMPLES,
        **reservations.EXAMPLES,
        **webhooks.EXAMPLES,
    }
)
"""By call: ``POST /v1/things``."""
