"""Whether what followers and their control plane decided together lies where it is found, and says what it can say."""

from collections.abc import Iterator
from typing import Final

import msgspec

from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import ulid_bytes
from sidecar.service.delegation_store import Delegated, Intent
from sidecar.state.codec import decode
from sidecar.state.environment import Table, Txn
from sidecar.state.rows import every_row, tenant_rows
from sidecar.state.tenant_transaction import TenantTransaction

_intent: Final = msgspec.msgpack.Decoder(Intent)
_delegated: Final = msgspec.msgpack.Decoder(Delegated)


def check_intents(txn: Txn, tables: dict[str, Table]) -> Iterator[str]:
    """Yield a sentence for each intent that does not lie under its decision."""
    for key, data in every_row(txn, tables["intents"]):
        try:
            intent = decode(data, _intent)
        except StoreUnusable as error:
            yield f"an intent is damaged: {error.message}"
            continue
        if _ulid(intent.decision_id) != key:
            yield f"the intent of `{intent.decision_id}` lies in the place of another"


def check_delegated(txn: Txn, tables: dict[str, Table], part: TenantTransaction) -> Iterator[str]:
    """Yield a sentence for each decision for a follower of a tenant that is not one, or holds for somebody else."""
    for key, data in tenant_rows(txn, tables["delegated"], part.tenant.number):
        try:
            found = decode(data, _delegated)
        except StoreUnusable as error:
            yield f"what was decided for a follower is damaged: {error.message}"
            continue
        decision_id = found.decision_id
        if _ulid(decision_id) != key:
            yield f"what was decided for a follower as `{decision_id}` lies in the place of another"
            continue
        decision = part.answers.decision(decision_id)
        if (found.word is None) is not (decision is None) or (found.word is None and not found.is_cancelled):
            yield f"`{decision_id}` was decided for a follower and not recorded, or the other way round"
        reservation = part.ledger.reservation(decision_id)
        if reservation is not None and reservation.follower_id != found.follower_id:
            yield f"what `{decision_id}` holds is held for another follower"


def _ulid(decision_id: str) -> bytes | None:
    return ulid_bytes(decision_id, "dec")
