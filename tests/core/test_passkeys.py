"""Passkeys are kept as they are written, whatever their bytes."""

import msgspec

from sidecar.core.passkeys import Passkey


def test_a_stored_passkey_is_read_as_it_was() -> None:
    passkey = Passkey(
        passkey_id="pk_1",
        identity_id="ann",
        name="phone",
        credential_id=bytes(range(256)),
        public_key=b"\xff",
        sign_count=2**32 - 1,
        created_at_us=0,
        revision=1,
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(passkey), type=Passkey) == passkey
