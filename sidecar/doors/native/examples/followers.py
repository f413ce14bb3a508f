"""Examples of the calls about followers: one that ships the first record of its log."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.native.examples.scene import AT, TOKEN_ID, page
from sidecar.doors.wire.openapi import Example

_ORIGIN: Final = "sidecar.local/01k9z3j4m5n6p7q8r9s0t1v2w3"
_RECORD: Final = (
    '{"i":0,"log":"sidecar.local/01k9z3j4m5n6p7q8r9s0t1v2w3","mode":"live",'
    '"prev":"odDI56VYM3U4G3uX73IIQIyyIvhJEEZW9QRuzm6U49M","root":"ann@acme.example","tenant_id":"acme",'
    '"time_zone":"America/Toronto","ts":1773057600000000,"type":"open","v":1}'
)
_STANDING: Final = {
    "records": 1,
    "backlog": 1,
    "revision": 5,
    "lag_revisions": 1,
    "age_seconds": 0.25,
    "first_seen_at": AT,
    "last_seen_at": AT,
    "alarm": None,
}
_FOLLOWER: Final = {
    "follower_id": TOKEN_ID,
    "tenant_id": "acme",
    "name": "edge",
    "scope": None,
    "origin": _ORIGIN,
    **_STANDING,
    "tenant_revision": 6,
    "logs": [{"origin": _ORIGIN, **_STANDING}],
}

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {
        "POST /v1/audit/records": (
            Example(
                "The first record of a follower's log",
                {
                    "origin": _ORIGIN,
                    "from_seq": 0,
                    "records": [_RECORD],
                    "status": {"revision": 5, "age_ms": 250, "head": 2},
                },
                {"next_seq": 1, "received": 1, "follower_id": TOKEN_ID},
            ),
        ),
        "GET /v1/followers": (Example("The only follower", answer=page(_FOLLOWER)),),
        "GET /v1/followers/{follower_id}": (Example("A follower that has one more record", answer=_FOLLOWER),),
    }
)
