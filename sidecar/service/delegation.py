"""A follower's word with its control plane about budgets that are decided there, in the course of one decision.

Before the control plane is asked, an intent is on disk: it may hold something for us from then on. It is forgotten in
the very transaction that records a permit with what was granted; in every other case it stays until the control plane
has acknowledged that it is cancelled (``sidecar.service.intents``).
"""

from typing import Protocol

import msgspec

from sidecar.core.delegation import Referral, Seat, Word
from sidecar.core.errors import SidecarError, Unavailable
from sidecar.core.model import AuthorizeRequest
from sidecar.service.delegation_store import Intent
from sidecar.service.store import Store, Transaction


class NotSent(Unavailable):
    """The control plane cannot hold anything of a request, since there was no connection to send it on."""


class Delegate(Protocol):
    """The control plane, as far as it decides for a follower."""

    async def reserve(self, decision_id: str, request: AuthorizeRequest) -> Word:
        """Have a request decided under this decision's id, with what the control plane's budgets hold for it.

        Raises NotSent where it was not even sent, Unavailable where no answer came: whether something is held is not
        known then. Raises another SidecarError where it was refused.
        """

    async def cancel(self, decision_id: str) -> None:
        """Have whatever is held for a decision released, now or when it is asked for later.

        Raises Unavailable where no answer came, NotFound where the decision is none of this follower's.
        """


class Delegation:
    """Refers a follower's requests to its control plane."""

    def __init__(self, store: Store, delegate: Delegate) -> None:
        """Keep intents in ``store`` and ask ``delegate``."""
        self._store = store
        self._delegate = delegate

    async def refer(self, decision_id: str, request: AuthorizeRequest, now_us: int) -> Referral:
        """Return what the control plane says of a request, or why it says nothing. Raises Unavailable.

        The intent that is left on disk is for ``close`` to end in the transaction that decides, or for the canceller.
        """
        intent = Intent(decision_id, now_us)
        await self._store.write(lambda txn: txn.intents.keep(intent))
        try:
            word = await self._delegate.reserve(decision_id, request)
        except SidecarError as error:
            return Referral(
                decision_id=decision_id,
                trouble=error.message,
                is_answered=not isinstance(error, Unavailable),
                is_sent=not isinstance(error, NotSent),
            )
        return Referral(decision_id=decision_id, word=word)


def seat_of(txn: Transaction) -> Seat:
    """Return the seat of a follower.

    Raises Unavailable before it has followed anything, and before the control plane knows its log: another server may
    decide with the same token (``sidecar.service.shipments``).
    """
    state = txn.replica.state()
    if state is None:
        raise Unavailable("this server has not followed its control plane yet")
    if txn.replica.acknowledged() != state.follower_id:
        raise Unavailable("the control plane has not taken the audit log of this server yet")
    return Seat(at=state.follower_id)


def confirmed(txn: Transaction, referral: Referral) -> Referral:
    """Return ``referral`` as it holds inside the transaction that decides: what is being cancelled grants nothing."""
    intent = txn.intents.find(referral.decision_id)
    if referral.is_granted and (intent is None or intent.is_abandoned):
        return Referral(decision_id=referral.decision_id, trouble="its answer came too late")
    return referral


def close(txn: Transaction, referral: Referral, *, is_used: bool) -> None:
    """End the intent of a referral in the transaction that decides.

    It is forgotten where a permit rests on what is held, and where nothing is. Otherwise it is left to be cancelled.
    """
    intent = txn.intents.find(referral.decision_id)
    if intent is None or intent.is_abandoned:
        return
    if is_used or not referral.is_sent or (referral.word is not None and not referral.word.granted):
        txn.intents.forget(referral.decision_id)
    else:
        txn.intents.keep(msgspec.structs.replace(intent, is_abandoned=True))
