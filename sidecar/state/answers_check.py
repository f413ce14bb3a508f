"""Whether the kept answers of idempotency keys are found and forgotten: the part of the check that concerns replays."""

from collections.abc import Iterator

import msgspec

from sidecar.core.idempotency import Replay
from sidecar.state.codec import U32, U64, decode, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import tenant_rows

_replay = msgspec.msgpack.Decoder(Replay)


def check_answers(txn: Txn, tables: dict[str, Table], number: int) -> Iterator[str]:
    """Yield a sentence for each kept answer of a tenant, or of the deployment, that does not hold.

    More ends than answers are no fault: one that was kept again leaves its older end behind, and is forgotten at any.
    """
    for key, value in tenant_rows(txn, tables["idempotency"], number):
        replay = decode(value, _replay)
        if short_hash(replay.scope) != key:
            yield f"the kept answer `{key.hex()}` lies under another key"
        end = U64.pack(replay.expires_at_us) + U32.pack(number) + key
        if txn.get(end, db=tables["idempotency_expiry"]) is None:
            yield f"the kept answer `{key.hex()}` would never be forgotten"
