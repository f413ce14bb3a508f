"""The manifest of a policy revision, as a reader of the log finds it: what the policies of a decision consisted of."""

from typing import Final

import msgspec

from sidecar.core.errors import ValidationFailed


class ApiPolicy(msgspec.Struct, frozen=True, array_like=True):
    """How a manifest names a policy made by the API; ``owner_type`` is the Cedar type of its identity."""

    policy_id: str
    owner_type: str | None
    identity_id: str | None
    text: str


class Manifest(msgspec.Struct, frozen=True):
    """What a policy revision consists of: paths and addresses of texts."""

    engine: str
    schemas: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    api: tuple[ApiPolicy, ...]


_manifest: Final = msgspec.json.Decoder(Manifest)


def read_manifest(content: bytes) -> Manifest:
    """Return what a policy revision consists of. Raises ValidationFailed for anything but a manifest."""
    try:
        return _manifest.decode(content)
    except msgspec.DecodeError as error:
        raise ValidationFailed(f"the fact is no list of policies: {error}") from error
