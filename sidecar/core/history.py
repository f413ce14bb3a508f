"""What the records of an audit log tell, as values: what was decided, how holds ended, what changed.

A log is a complete change feed of its tenant, so the values of all its records, in order, give its state at each of
them. Spelling, links and facts are checked by ``sidecar.core.verification``; which state comes out is the services'.
"""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

from sidecar.core.audit import Body
from sidecar.core.card_events import Network
from sidecar.core.delegation import HOME, Referral, Seat
from sidecar.core.errors import ValidationFailed
from sidecar.core.log_entries import digest_of
from sidecar.core.record_kinds import KINDS
from sidecar.core.remote import Remote, referral_of
from sidecar.core.staleness import Freshly

Ending = Literal["settle", "release", "refund", "expire"]

ENDINGS: Final[tuple[Ending, ...]] = get_args(Ending)
"""What callers and time make of a hold: followers tell their control plane of these."""

Named: TypeAlias = tuple[str, int, str]
"""A version as a record names it: id, revision, and the address of its fact."""

Claimed: TypeAlias = tuple[str, int, str, int | None, int | str, int | str, int]
"""A claim of a decision: the budget's version, its window's start, what was settled and held in it, what was asked."""

Figures: TypeAlias = tuple[str, int, int, int, int]
"""A measure of a reservation after a call: dimension, asked, held, settled, refunded."""


_FRAME: Final = {"seq": "i", "ts_us": "ts", "kind": "type"}


class Opened(msgspec.Struct, frozen=True, kw_only=True, rename={"ts_us": "ts"}):
    """Record 0: whose log it is, and what every ruling in it depends on."""

    ts_us: int
    tenant_id: str
    root: str
    time_zone: str
    mode: Literal["live", "test"]


class Framed(msgspec.Struct, frozen=True, kw_only=True, rename=_FRAME):
    """A record that is made again to be proven, with what the log itself has written into it."""

    v: int
    log: str
    seq: int
    prev: str
    ts_us: int
    kind: str

    @property
    def frame(self) -> Body:
        """What the log itself has written into the record."""
        return {"v": self.v, "log": self.log, "i": self.seq, "prev": self.prev, "ts": self.ts_us, "type": self.kind}


class Decided(
    Framed,
    frozen=True,
    kw_only=True,
    gc=False,
    rename=_FRAME | {"decision_id": "decision", "now_us": "now", "expires_us": "expires", "asker": "for"},
):
    """A decision; the fields are those of ``sidecar.core.audit.decision_body``, with the frame of its record."""

    decision_id: str
    now_us: int
    identity: str
    action: str
    resource: dict[str, str]
    verdict: Literal["allow", "deny"]
    codes: tuple[str, ...]
    matched: tuple[str, ...]
    chain: tuple[Named, ...]
    budgets: tuple[Claimed, ...]
    request: str
    policies: str
    engine: str
    token: str
    entity_revision: int
    amount: int | None = None
    currency: str | None = None
    quantities: tuple[tuple[str, int], ...] = ()
    errors: tuple[str, ...] = ()
    expires_us: int | None = None
    replay_of: str | None = None
    others: tuple[Named, ...] = ()
    cards: tuple[Named, ...] = ()
    at: str | None = None
    asker: str | None = None
    remote: Remote | None = None
    age_ms: int | None = None
    stale_after_ms: int | None = None
    skew_ms: int = 0
    fault: bool = False

    @property
    def freshly(self) -> Freshly | None:
        """How old the data was that a follower decided on; None for what no follower decided."""
        if self.stale_after_ms is None:
            return None
        age_us = None if self.age_ms is None else self.age_ms * 1_000
        fault = "a fault" if self.fault else None
        return Freshly(age_us, self.stale_after_ms * 1_000, self.skew_ms * 1_000, fault)

    @property
    def seat(self) -> Seat:
        """Where it was decided."""
        return HOME if self.at is None and self.asker is None else Seat(self.at, self.asker)

    @property
    def referral(self) -> Referral | None:
        """What a control plane said of it, as far as the record tells; None where it was not asked."""
        return None if self.remote is None else referral_of(self.decision_id, self.remote)

    @property
    def is_allowed(self) -> bool:
        """Whether it was a permit."""
        return self.verdict == "allow"


class Ended(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"decision_id": "decision", "seq": "i", "ts_us": "ts", "kind": "type"},
):
    """What became of a hold: how its decision's reservation stood after a call, or after its time had come.

    A card network states all figures anew (``restate``); ``kept`` is then what it says is still on hold though time has
    ended that.
    """

    seq: int
    ts_us: int
    kind: Ending | Literal["restate"]
    decision_id: str
    identity: str
    state: str
    measures: tuple[Figures, ...]
    currency: str | None = None
    late: bool = False
    by: str = "sidecar"
    kept: int = 0


class Forced(
    Framed,
    frozen=True,
    kw_only=True,
    rename=_FRAME | {"decision_id": "decision", "now_us": "now"},
):
    """What a card network captured without a hold: the fields of ``sidecar.core.audit.forced_body``, with its frame."""

    decision_id: str
    now_us: int
    identity: str
    card: str
    amount: int
    currency: str
    chain: tuple[Named, ...]
    budgets: tuple[Claimed, ...]
    cards: tuple[Named, ...]
    policies: str
    network: Network
    authorization: str
    by: str
    entity_revision: int
    merchant: str | None = None
    overdrawn: tuple[str, ...] = ()


class Changed(
    msgspec.Struct, frozen=True, kw_only=True, rename={"seq": "i", "ts_us": "ts", "now_us": "now", "kind": "type"}
):
    """Another version of identities, budgets or cards; ``identity`` and ``card`` say whose it is."""

    seq: int
    ts_us: int
    kind: str
    chain: tuple[Named, ...] = ()
    budgets: tuple[Named, ...] = ()
    cards: tuple[Named, ...] = ()
    policy: str | None = None
    text: str | None = None
    identity: str | None = None
    card: str | None = None
    revision: int | None = None
    status: str | None = None
    now_us: int | None = None


class BudgetDeleted(msgspec.Struct, frozen=True, rename={"ts_us": "ts", "kind": "type"}):
    """A budget that governs nothing from here on."""

    ts_us: int
    kind: str
    budget: str


class Followed(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"seq": "i", "ts_us": "ts", "kind": "type", "now_us": "now", "from_revision": "from", "to_revision": "to"},
):
    """What a follower took over from its control plane, which came from one revision to another with it.

    ``changes`` is the address of the list of ``count`` records, ``files`` the digest of the policy files from then on.
    """

    seq: int
    ts_us: int
    kind: str
    now_us: int
    from_revision: int
    to_revision: int
    changes: str
    count: int
    files: str


Enacted: TypeAlias = Decided | Forced
"""What names the policies of its time."""

Event: TypeAlias = Opened | Decided | Ended | Forced | Changed | BudgetDeleted | Followed


class _Kind(msgspec.Struct, rename={"kind": "type"}):
    kind: str


_kind: Final = msgspec.json.Decoder(_Kind)
_readers: Final[dict[str, msgspec.json.Decoder[Event]]] = {
    "open": msgspec.json.Decoder(Opened),
    "decision": msgspec.json.Decoder(Decided),
    "budget_deleted": msgspec.json.Decoder(BudgetDeleted),
    "followed": msgspec.json.Decoder(Followed),
    "forced": msgspec.json.Decoder(Forced),
    **dict.fromkeys((*ENDINGS, "restate"), msgspec.json.Decoder(Ended)),
}
_decided: Final = msgspec.json.Decoder(Decided)
_DECISION: Final = b'"type":"decision","v":'
"""What the record of a decision has and no other: keys are sorted, and in a resource nothing follows its type."""

_changed: Final = msgspec.json.Decoder(Changed)


def read_event(body: bytes) -> Event:
    """Return what a record tells. One of a kind that changes nothing here is a ``Changed`` without a version.

    Raises ValidationFailed for a record that lacks what its kind has, and for one of a kind that is not known.
    """
    try:
        if _DECISION in body:
            return _decided.decode(body)
        kind = _kind.decode(body).kind
        if kind not in KINDS:
            raise ValidationFailed(f"the record is of type `{kind}`, which this version does not have")
        return _readers.get(kind, _changed).decode(body)
    except msgspec.DecodeError as error:
        raise ValidationFailed(f"the record cannot be read: {error}") from error


def opening(event: Event) -> Opened:
    """Return ``event`` as the beginning of a log. Raises ValidationFailed for any other record."""
    if not isinstance(event, Opened):
        raise ValidationFailed("record 0 does not open a log")
    return event


def may_reopen(body: bytes) -> bool:
    """Whether a record could be about a hold that had ended: restated, refunded, settled late, or withdrawn."""
    return (
        b'"type":"restate"' in body
        or b'"type":"refund"' in body
        or b'"late":true' in body
        or b'["count",1,0,0,0]' in body
    )


def digest(address: str) -> bytes:
    """Return the hash that an address writes. Raises ValidationFailed for what is no address."""
    found = digest_of(address)
    if found is None:
        raise ValidationFailed(f"`{address}` is no address of a fact")
    return found
