"""The writer's half of the audit log: canonical bytes, the hash chain, and what a decision's record says.

Formats are those of RFC 6962: a record's link is the leaf hash of its body, carried as ``prev`` by the next one, so a
Merkle tree can later be built over the same bytes. Bodies are canonical JSON (RFC 8785 restricted: keys sorted, no
floats, integers within 2^53): the bytes are stored and hashed, never made again to be compared. The reader's half is
``sidecar.core.verification``, which shares no code with this module on purpose.
"""

import hashlib
import re
from binascii import b2a_base64
from typing import Final, TypeAlias

import msgspec
import orjson

from sidecar.core.budget import Claim, Usage, overdraws
from sidecar.core.card_events import Network
from sidecar.core.delegation import HOME, Referral, Seat
from sidecar.core.errors import Unavailable
from sidecar.core.limits import AUDIT_BODY_BYTES_MAX
from sidecar.core.model import AuthorizeRequest, ClaimedTags
from sidecar.core.staleness import Freshly, recorded

FORMAT: Final = 1
"""Version of the body; a reader refuses one it does not know."""

INTEGER_MAX: Final = 2**53 - 1
"""The largest number that every JSON reader takes exactly (RFC 8785); a figure beyond it is written as text."""

NAMED_MAX: Final = 16
"""Policies named in one list of a record: thousands can match one request, and the record has a largest size."""

Body: TypeAlias = dict[str, object]

_DOMAIN: Final = "sidecar.local/"
_LOG_ID: Final = re.compile("[a-z0-9-]{1,100}")
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


class Head(msgspec.Struct, frozen=True):
    """The end of one log: the next index, the link of the newest record, and the newest time in it.

    ``clock_epoch`` is the number of the last clock event this log has told of.
    """

    next_index: int
    link: bytes
    last_us: int
    clock_epoch: int = 0


class Sealed(msgspec.Struct, frozen=True):
    """A record that is ready to be stored: its index, its body, and the head after it."""

    index: int
    body: bytes
    head: Head


def origin(log_id: str) -> str:
    """Return the name of a log, written into each of its records so that none can be moved to another log."""
    return f"{_DOMAIN}{log_id}"


def log_id_of(origin_name: str) -> str | None:
    """Return the id of the log that ``origin`` gives this name, None for a name that it gives to none."""
    log_id = origin_name.removeprefix(_DOMAIN)
    return log_id if origin_name != log_id and _LOG_ID.fullmatch(log_id) is not None else None


def genesis(origin_name: str) -> bytes:
    """Return the link that record 0 of a log follows."""
    return hashlib.sha256(b"sidecar/genesis/v1\n" + origin_name.encode() + b"\n").digest()


def link_of(body: bytes) -> bytes:
    """Return the link of a record: the leaf hash of RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + body).digest()


def encode_hash(digest: bytes) -> str:
    """Return a digest as the wire and the records show it: base64url without padding."""
    return b2a_base64(digest, newline=False).rstrip(b"=").translate(_URL_SAFE).decode()


def fact_hash(content: bytes) -> bytes:
    """Return the address of ``content`` in the fact table."""
    return hashlib.sha256(content).digest()


def seal(head: Head, origin_name: str, kind: str, now_us: int, fields: Body) -> Sealed:
    """Return the record that follows ``head``. Its time is ``now_us``, or the head's where the clock went back.

    Raises Unavailable for what no reader would accept: a body longer than a log entry can be, an integer beyond
    ``INTEGER_MAX``, a text without UTF-8. The limits on requests exclude all of it; the log stays whole if they do not.
    """
    last_us = max(head.last_us, now_us)
    content = {
        **fields,
        "v": FORMAT,
        "log": origin_name,
        "i": head.next_index,
        "prev": encode_hash(head.link),
        "ts": last_us,
        "type": kind,
    }
    try:
        body = orjson.dumps(content, option=orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError as error:
        raise Unavailable(f"an audit record cannot be written: {error}") from error
    if len(body) > AUDIT_BODY_BYTES_MAX:
        raise Unavailable(f"an audit record of {len(body)} bytes is over the limit of {AUDIT_BODY_BYTES_MAX}")
    return Sealed(head.next_index, body, Head(head.next_index + 1, link_of(body), last_us, head.clock_epoch))


Version: TypeAlias = tuple[str, int, str]
"""Which version of something was looked at, as a record names it: id, revision, and where its bytes lie."""


def version(key: str, revision: int, content: bytes) -> Version:
    """Return the version whose fact is ``content``."""
    return key, revision, encode_hash(fact_hash(content))


class DecisionFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bytes behind a decision lie: addresses in the fact table, as the record writes them.

    ``chain`` and ``others`` are the identities of the chain and those outside of it that were looked at, ``budgets``
    are in the order of the claims, ``card`` is the card used.
    """

    request: str
    policies: str
    chain: tuple[Version, ...]
    budgets: tuple[Version, ...]
    others: tuple[Version, ...] = ()
    card: Version | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided, as far as the record tells it in clear; ``freshly`` is None for what no follower decided."""

    decision_id: str
    allowed: bool
    codes: tuple[str, ...]
    determining: tuple[str, ...]
    errors: tuple[str, ...]
    expires_at_us: int | None
    replay_of: str | None = None
    freshly: Freshly | None = None
    seat: Seat = HOME
    referral: Referral | None = None


def decision_body(
    *,
    request: AuthorizeRequest,
    verdict: Verdict,
    claimed: tuple[tuple[Claim, Usage], ...],
    facts: DecisionFacts,
    engine: str,
    token_id: str,
    now_us: int,
    entity_revision: int,
) -> Body:
    """Return the fields of a decision's record: enough to recompute it, without a name or a secret (DESIGN rule 12).

    ``at`` is the follower that decided, ``for`` the one that a control plane decided for, ``remote`` what a control
    plane decided for the one that decided here, ``claimed`` the names of tags that the caller gave.
    """
    fields: Body = {
        "decision": verdict.decision_id,
        "now": now_us,
        "identity": request.identity_id,
        "action": request.action,
        "resource": {"type": request.resource.type, "id": request.resource.id},
        "verdict": "allow" if verdict.allowed else "deny",
        "codes": tuple(dict.fromkeys(verdict.codes)),
        "matched": verdict.determining[:NAMED_MAX],
        "chain": facts.chain,
        "budgets": _claims(claimed, facts),
        "request": facts.request,
        "policies": facts.policies,
        "engine": engine,
        "token": token_id,
        "entity_revision": entity_revision,
    }
    optional = (
        ("amount", request.amount_minor),
        ("currency", request.currency),
        ("quantities", sorted(request.quantities.items()) or None),
        ("card", request.card_id),
        ("errors", verdict.errors[:NAMED_MAX] or None),
        ("matched_more", max(0, len(verdict.determining) - NAMED_MAX) or None),
        ("errors_more", max(0, len(verdict.errors) - NAMED_MAX) or None),
        ("expires", verdict.expires_at_us),
        ("replay_of", verdict.replay_of),
        ("others", facts.others or None),
        ("cards", (facts.card,) if facts.card else None),
        ("at", verdict.seat.at),
        ("for", verdict.seat.asker),
        ("remote", None if verdict.referral is None else _remote(verdict.referral)),
    )
    for key, value in optional:
        if value is not None:
            fields[key] = value
    if isinstance(request.tags, ClaimedTags):
        fields["claimed"] = {"principal": sorted(request.tags.principal), "resource": sorted(request.tags.resource)}
    return fields if verdict.freshly is None else fields | recorded(verdict.freshly)


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """What a card network captured without a hold, as far as the record tells it in clear; ``by`` is its program."""

    decision_id: str
    network: Network
    authorization_id: str
    merchant: str | None
    by: str


def forced_body(
    *,
    request: AuthorizeRequest,
    capture: Capture,
    claimed: tuple[tuple[Claim, Usage], ...],
    facts: DecisionFacts,
    now_us: int,
    entity_revision: int,
) -> Body:
    """Return the fields of the record of what was captured without a hold: what it claims, of which nothing is asked.

    ``overdrawn`` are the hard budgets that had too little room for it.
    """
    fields: Body = {
        "decision": capture.decision_id,
        "now": now_us,
        "identity": request.identity_id,
        "card": request.card_id,
        "amount": request.amount_minor,
        "currency": request.currency,
        "chain": facts.chain,
        "cards": () if facts.card is None else (facts.card,),
        "budgets": _claims(claimed, facts),
        "policies": facts.policies,
        "network": capture.network,
        "authorization": capture.authorization_id,
        "by": capture.by,
        "entity_revision": entity_revision,
    }
    overdrawn = tuple(claim.budget.budget_id for claim, usage in claimed if overdraws(claim, usage))
    if overdrawn:
        fields["overdrawn"] = overdrawn
    if capture.merchant is not None:
        fields["merchant"] = capture.merchant
    return fields


def _claims(claimed: tuple[tuple[Claim, Usage], ...], facts: DecisionFacts) -> list[tuple[object, ...]]:
    return [
        (
            *kept,
            None if claim.window is None else claim.window.start_us,
            _figure(usage.settled),
            _figure(usage.held),
            claim.asked,
        )
        for (claim, usage), kept in zip(claimed, facts.budgets, strict=True)
    ]


def _remote(referral: Referral) -> Body:
    """Return what a control plane said, with the place of its own record; nothing was granted where it said nothing."""
    word = referral.word
    if word is None:
        return {"granted": False}
    said: Body = {"granted": word.granted}
    if word.reasons and not word.granted:
        said["codes"] = tuple(dict.fromkeys(reason.code for reason in word.reasons))
    if word.shares:
        said["budgets"] = [
            (each.budget_id, each.revision, each.window_start_us, _figure(each.settled), _figure(each.held), each.asked)
            for each in word.shares
        ]
    if word.audit is not None:
        said["seq"], said["hash"] = word.audit.seq, word.audit.hash
    return said


def _figure(value: int) -> int | str:
    """Return what a window has used; where nothing limits it, many large claims are more than a JSON number holds."""
    return value if value <= INTEGER_MAX else str(value)
