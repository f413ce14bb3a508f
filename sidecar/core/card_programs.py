"""The secrets of card programs: which texts can be one, what is signed with it, and which are open at a time.

A program is registered with the secret that its network shows. Two networks write theirs alike and use them
differently: Stripe signs with the whole text, Standard Webhooks (Lithic) with the bytes behind its prefix. No message
of this module repeats a secret.
"""

import re
from base64 import b64decode
from typing import Final

import msgspec

from sidecar.core.card_events import CardProgram, Network
from sidecar.core.errors import ValidationFailed

TENANT_PROGRAMS_MAX: Final = 20
"""Programs of one tenant: some accounts at some networks, each in live and in test mode."""

NETWORK_PROGRAMS_MAX: Final = 100
"""Programs of one network over the whole server: a message is checked against the secrets of each, 2 us a secret."""

PREFIX: Final = "whsec_"
KEY_BYTES_MIN: Final = 24
KEY_BYTES_MAX: Final = 64
"""Bytes of a Standard Webhooks secret, by its specification."""

_is_stripe: Final = re.compile(r"whsec_[!-~]{8,250}").fullmatch
_is_standard: Final = re.compile(r"whsec_[A-Za-z0-9+/]{1,128}={0,2}").fullmatch


def check_secret(network: Network, secret: str) -> str:
    """Return ``secret`` unless it can be none of ``network``. Raises ValidationFailed, which does not repeat it."""
    if network == "stripe":
        if _is_stripe(secret) is None:
            raise ValidationFailed(
                f"a secret of stripe is `{PREFIX}` and 8 to 250 printable characters", field="secret"
            )
    elif _is_standard(secret) is None or not KEY_BYTES_MIN <= len(_standard_key(secret)) <= KEY_BYTES_MAX:
        message = f"a secret of {network} is `{PREFIX}` and the base64 text of {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes"
        raise ValidationFailed(message, field="secret")
    return secret


def signing_key(network: Network, secret: str) -> bytes:
    """Return the bytes that ``network`` signs with, of a secret that was checked."""
    return secret.encode() if network == "stripe" else _standard_key(secret)


def _standard_key(secret: str) -> bytes:
    """Return the bytes of a Standard Webhooks secret, whose padding may be missing; none where they are no base64."""
    text = secret.removeprefix(PREFIX).rstrip("=")
    if len(text) % 4 == 1:
        return b""
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


def open_secrets(program: CardProgram, now_us: int) -> tuple[str, ...]:
    """Return the secrets by which messages of ``program`` are known at ``now_us``, the present one first."""
    if program.former_secret is None or is_over(program, now_us):
        return (program.secret,)
    return program.secret, program.former_secret


def is_over(program: CardProgram, now_us: int) -> bool:
    """Whether the former secret of ``program``, if it has one, opens nothing any more."""
    return program.former_until_us is not None and program.former_until_us <= now_us


def rotated(program: CardProgram, secret: str, grace_seconds: int, now_us: int) -> CardProgram:
    """Return ``program`` with a new secret; the replaced one opens as well for ``grace_seconds``."""
    is_kept = grace_seconds > 0
    return msgspec.structs.replace(
        program,
        secret=secret,
        former_secret=program.secret if is_kept else None,
        former_until_us=now_us + grace_seconds * 1_000_000 if is_kept else None,
        rotated_at_us=now_us,
        revision=program.revision + 1,
    )


def without_former(program: CardProgram) -> CardProgram:
    """Return ``program`` without the secret that was replaced."""
    return msgspec.structs.replace(program, former_secret=None, former_until_us=None)
