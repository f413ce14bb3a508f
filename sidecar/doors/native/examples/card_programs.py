"""Examples of the calls about card programs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AT, CARD_PROGRAM_ID, page
from sidecar.doors.wire.openapi import Example

_SECRET: Final = "whsec_8Lq1PzXw2mY7"  # noqa: S105 -- of no program
_NEW: Final = "whsec_Kd93hTfQ0sRb"
_PROGRAM: Final = {
    "program_id": CARD_PROGRAM_ID,
    "tenant_id": "acme",
    "network": "stripe",
    "name": "Acme cards",
    "has_former_secret": False,
    "former_secret_until": None,
    "created_at": AT,
    "rotated_at": None,
    "revision": 1,
}
_ROTATED: Final = {
    "has_former_secret": True,
    "former_secret_until": "2026-03-09T13:00:00Z",
    "rotated_at": AT,
    "revision": 2,
}
_PATH: Final = "/v1/treasury/card-programs"
_ONE: Final = f"{_PATH}/{{program_id}}"

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        f"POST {_PATH}": (
            Example(
                "Believe what a Stripe account tells of its cards",
                {"network": "stripe", "name": "Acme cards", "secret": _SECRET},
                _PROGRAM,
            ),
        ),
        f"GET {_PATH}": (Example("The only program", answer=page(_PROGRAM)),),
        f"GET {_ONE}": (Example("A program", answer=_PROGRAM),),
        f"POST {_ONE}/rotate": (
            Example(
                "A new secret; for an hour both are good",
                {"secret": _NEW, "grace_seconds": 3600},
                _PROGRAM | _ROTATED,
            ),
        ),
    }
)
