"""What the use cases of the change feed need of a store: of a control plane's, and of a follower's."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

import msgspec

from sidecar.core.feed import Change, RecordKind
from sidecar.core.model import AuditMark
from sidecar.core.staleness import Contact


class Entry(NamedTuple):
    """One entry of the change feed. ``kind`` is None for what is not followed.

    ``is_removal`` says that it tells of the record's end, and then ``owner`` is whom the record belonged to.
    """

    revision: int
    kind: RecordKind | None
    id: str
    owner: str | None
    is_removal: bool = False


class Feed(Protocol):
    """The records of one tenant that are followed."""

    def floor(self) -> int:
        """Return the revision up to which changes are not all kept any more."""

    def told(self, after: int, most: int) -> list[Entry]:
        """Return up to ``most`` entries of the change feed after a revision, in their order."""

    def find(self, kind: RecordKind, key: str) -> Change | None:
        """Return a record as it is now."""

    def owned(self, kind: RecordKind, owner: str, *, after: int = 0) -> Iterator[Change]:
        """Yield the records that belong to ``owner`` in order of creation, from the one after that place."""

    def all(self, kind: RecordKind, *, after: int = 0) -> Iterator[Change]:
        """Yield every record of a kind in order of creation, from the one after that place."""

    def of_nobody(self, kind: RecordKind, *, after: int = 0) -> Iterator[tuple[int, Change | None]]:
        """Yield the records of a kind that belong to nobody, each with its place, and None in place of all others."""

    def adopt(self, change: Change, at: int) -> None:
        """Store a record as the control plane has it, or forget one that is gone there; an unknown one is let pass.

        ``at`` is the revision that this store comes to with it.
        """

    def forget(self, up_to: int, most: int) -> int:
        """Forget up to ``most`` entries of the change feed up to a revision; returns how many."""


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower follows, and how far it has come.

    ``origin`` names the control plane's log of the tenant, ``follower_id`` is the token that it follows with, ``scope``
    the identity that this is limited to. ``revision`` is the control plane's, ``files_told_us`` the time on its clock
    at which it told of the policy files that are here; ``mark`` is where its log ended then, None where it did not say.
    """

    tenant_id: str
    origin: str
    follower_id: str
    scope: str | None
    revision: int
    files_digest: str
    files_told_us: int = 0
    mark: AuditMark | None = None


class Staging(msgspec.Struct, frozen=True, kw_only=True):
    """How far a state has come that is not applied yet; all of it is of one ``origin``, tenant and ``scope``.

    ``since`` is the revision from which on pages complete it, which grows with each page. Of a snapshot that is not
    complete, ``cursor`` is where it goes on, and ``records`` and ``digest`` are what it has told. ``mark`` is where the
    control plane's log ended when it told the last of what is complete.
    """

    origin: str
    tenant_id: str
    scope: str | None
    is_snapshot: bool
    began: int
    since: int
    cursor: str | None = None
    records: int = 0
    digest: str = ""
    is_complete: bool = False
    mark: AuditMark | None = None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """How it stands between a follower and its control plane, kept when that changes.

    ``is_connected`` says that the last question was answered; ``error`` is what was wrong with the last one, None where
    all was well. ``head`` is the newest revision that the control plane was heard to have, 0 where none was.
    """

    is_connected: bool
    error: str | None = None
    head: int = 0


class Replica(Protocol):
    """What a follower keeps beside the records: of the deployment, since a follower follows one tenant."""

    def state(self) -> ReplicaState | None:
        """Return what is followed, None before the first time that anything was applied."""

    def keep_state(self, state: ReplicaState) -> None:
        """Note what is followed and how far."""

    def contact(self) -> Contact | None:
        """Return the last contact with the control plane."""

    def keep_contact(self, contact: Contact) -> None:
        """Note a contact."""

    def link(self) -> Link | None:
        """Return how it stands between the two, None where nothing was asked yet."""

    def keep_link(self, link: Link) -> None:
        """Note how it stands."""

    def outside(self) -> tuple[str, ...]:
        """Return the identities that are here although they are outside of what is followed."""

    def keep_outside(self, identity_ids: tuple[str, ...]) -> None:
        """Note these."""

    def fault(self) -> str | None:
        """Return why nothing more may be decided here until someone looks, None where all is well."""

    def keep_fault(self, fault: str | None) -> None:
        """Note such a reason, or that there is none any more."""

    def staging(self) -> Staging | None:
        """Return how far a state has come that is not applied yet."""

    def keep_staging(self, staging: Staging | None) -> None:
        """Note that; None ends it. What was staged is cleared by ``clear_staged``."""

    def stage(self, changes: Iterable[Change]) -> None:
        """Add changes to what is staged; the newer of two of one record stays."""

    def staged(self, after: bytes, most: int) -> tuple[list[Change], bytes]:
        """Return up to ``most`` staged changes behind a position, and the position behind them."""

    def staged_one(self, kind: RecordKind, key: str) -> Change | None:
        """Return the staged change of one record."""

    def clear_staged(self, most: int) -> int:
        """Forget up to ``most`` staged changes; returns how many."""

    def shipped(self) -> int:
        """Return the index of the first audit record that the control plane is not known to have."""

    def keep_shipped(self, index: int) -> None:
        """Note that index."""

    def acknowledged(self) -> str | None:
        """Return the token under which the control plane has taken records of this log, None where it never did."""

    def acknowledge(self, token_id: str) -> None:
        """Note that token."""
