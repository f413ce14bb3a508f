"""The text of a token: ``<prefix>_<key id>_<secret>_<check>``, as secret scanners like it.

The key id (10 characters of base32) is public and finds the stored record; the secret is 256 random bits in base62; the
check is a CRC-32 that lets a typing error be refused without a look-up. Only a digest of the secret is stored, and the
text is shown once.
"""

import hashlib
import re
import zlib
from base64 import b32encode
from typing import Final

import msgspec

from sidecar.core.access import TokenKind
from sidecar.core.directory import Mode

KEY_BYTES: Final = 7
SECRET_BYTES: Final = 32
_KEY_LENGTH: Final = 10
_SECRET_LENGTH: Final = 43
_CHECK_LENGTH: Final = 6
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PAIRS: Final = tuple(high + low for high in _DIGITS for low in _DIGITS)  # two at a time: every request is checked
_SHAPE: Final = re.compile(r"([a-z_]{2,8})_([A-Z2-7]{10})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})")


class TokenText(msgspec.Struct, frozen=True):
    """A token's text taken apart. ``shown`` is what may be displayed of it."""

    prefix: str
    key_id: str
    secret: str

    @property
    def shown(self) -> str:
        """The public part, enough to recognise a token in a list."""
        return f"{self.prefix}_{self.key_id}"

    def text(self) -> str:
        """Return the whole text."""
        public = f"{self.shown}_{self.secret}"
        return f"{public}_{_check(public)}"

    def digest(self) -> bytes:
        """Return what is stored in place of the secret."""
        return hashlib.sha256(f"sidecar/token/v1\0{self.key_id}\0{self.secret}".encode()).digest()


def mint(kind: TokenKind, mode: Mode, randomness: bytes) -> TokenText:
    """Return a new token of a kind; ``randomness`` is ``KEY_BYTES + SECRET_BYTES`` long."""
    key, secret = randomness[:KEY_BYTES], randomness[KEY_BYTES:]
    prefix = {
        ("tenant", "live"): "sk_live",
        ("tenant", "test"): "sk_test",
        ("agent", "live"): "at_live",
        ("agent", "test"): "at_dev",
    }.get((kind, mode), "fw")
    return TokenText(prefix, b32encode(key).decode()[:_KEY_LENGTH], _base62(int.from_bytes(secret), _SECRET_LENGTH))


def read(text: str) -> TokenText | None:
    """Return the parts of a token's text, None when it is none or was mistyped."""
    match = _SHAPE.fullmatch(text)
    if match is None:
        return None
    prefix, key_id, secret, check = match.groups()
    return TokenText(prefix, key_id, secret) if _check(text[: match.start(4) - 1]) == check else None


def _check(public: str) -> str:
    return _base62(zlib.crc32(public.encode()), _CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    text = ""
    while len(text) < length:
        number, pair = divmod(number, len(_PAIRS))
        text = _PAIRS[pair] + text
    return text[-length:]  # of an odd length, the first of the digits is a 0 too many
