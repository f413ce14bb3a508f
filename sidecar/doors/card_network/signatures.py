"""Whether a message is signed by a secret, over the bytes that came, before anything in them is read.

Both networks sign the time with the body, so that an old message cannot be sent again: 300 s from now, either way, is
as far as a time may be off. Sources: docs.stripe.com/webhooks, "Verify manually"; the Standard Webhooks specification,
"Verifying signatures". The networks' own libraries read the machine's clock, so that they are no help to a server whose
time is an argument; tests hold this module against them.
"""

import hmac
import re
from base64 import b64decode
from typing import Final, NamedTuple

from sidecar.core.errors import Unauthenticated
from sidecar.doors.wire.http import Incoming

TOLERANCE_SECONDS: Final = 300
"""As both networks have it."""

HEADER_LENGTH_MAX: Final = 4_096
"""Some dozens of signatures; a network sends two at most, while a secret is rotated."""

MESSAGE_ID: Final = b"webhook-id"
STRIPE_SIGNATURE: Final = b"stripe-signature"

_TIME: Final = "(?:0|[1-9][0-9]{0,11})"
_is_time: Final = re.compile(_TIME).fullmatch
_is_stripe_digest: Final = re.compile("[0-9a-f]{64}").fullmatch
_is_standard_digest: Final = re.compile("v1,[A-Za-z0-9+/]{43}=").fullmatch
_is_message_id: Final = re.compile("[!-~]{1,255}").fullmatch


class Signed(NamedTuple):
    """What a message is signed with: ``prefix`` is what stands before the body in the signed text."""

    prefix: bytes
    digests: tuple[bytes, ...]

    def is_by(self, key: bytes, body: bytes) -> bool:
        """Whether any of the signatures is that of ``key``."""
        expected = hmac.digest(key, self.prefix + body, "sha256")
        return any(hmac.compare_digest(expected, digest) for digest in self.digests)


def stripe_signed(head: Incoming, now_us: int) -> Signed:
    """Return what the header ``Stripe-Signature`` says: ``t=<seconds>,v1=<hex>``, the latter once or more.

    Schemes other than ``v1`` are passed over. Raises Unauthenticated where the header is missing, doubled or none, and
    where its time is not now.
    """
    pairs = [pair.partition("=") for pair in _header(head, STRIPE_SIGNATURE).split(",")]
    times = [value for name, _, value in pairs if name.strip() == "t"]
    if len(times) != 1:
        raise Unauthenticated("the header `stripe-signature` must have one time `t`")
    seconds = _time(times[0], now_us)
    digests = tuple(bytes.fromhex(value) for name, _, value in pairs if name == "v1" and _is_stripe_digest(value))
    return Signed(f"{seconds}.".encode(), digests)


def standard_signed(head: Incoming, now_us: int) -> Signed:
    """Return what the headers of Standard Webhooks say. Raises Unauthenticated as ``stripe_signed``."""
    identity = message_id(head)
    seconds = _time(_header(head, b"webhook-timestamp"), now_us)
    parts = _header(head, b"webhook-signature").split(" ")
    digests = tuple(b64decode(part.removeprefix("v1,")) for part in parts if _is_standard_digest(part))
    return Signed(f"{identity}.{seconds}.".encode(), digests)


def message_id(head: Incoming) -> str:
    """Return the id that Standard Webhooks gives a message, the same when it is sent again. Raises Unauthenticated."""
    text = _header(head, MESSAGE_ID)
    if _is_message_id(text) is None:
        raise Unauthenticated("the header `webhook-id` must have 1 to 255 printable characters")
    return text


def _header(head: Incoming, name: bytes) -> str:
    """Return a header that must be there once: of two, one reader would take the first and another the last."""
    values = head.every(name)
    if len(values) != 1:
        raise Unauthenticated(f"the header `{name.decode()}` is {'given twice' if values else 'missing'}")
    if len(values[0]) > HEADER_LENGTH_MAX or not values[0].isascii():
        raise Unauthenticated(f"the header `{name.decode()}` is too long or not ASCII")
    return values[0].decode()


def _time(text: str, now_us: int) -> str:
    """Return the time of a signature, as it was written. Raises Unauthenticated unless it is now."""
    if _is_time(text) is None:
        raise Unauthenticated("the time of the signature must be whole seconds since 1970")
    if abs(int(text) * 1_000_000 - now_us) > TOLERANCE_SECONDS * 1_000_000:
        raise Unauthenticated(f"the signature was made more than {TOLERANCE_SECONDS} s from now")
    return text
