"""Example of the call about following: a server of the other examples, which follows nobody."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sidecar.doors.wire.openapi import Example

EXAMPLES: Final[Mapping[str, tuple[Example, ...]]] = MappingProxyType(
    {"GET /v1/replica": (Example("A server that follows nobody", answer={"role": "standalone"}),)}
)
