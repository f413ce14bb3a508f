"""Whether a tenant's records hold together: with their index, with what the log tells of them, and with their tokens.

The newest version of each identity, budget, card, policy, grant and passkey stands in the log by revision and hash, so
that one that was rewritten behind the log is found; of tokens the log tells only that they exist.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from sidecar.core.access import Token
from sidecar.core.accounts import Account
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity
from sidecar.core.errors import StoreUnusable
from sidecar.core.facts import budget_fact, card_fact, grant_fact, identity_fact, passkey_fact
from sidecar.core.grants import Grant, url_safe
from sidecar.core.log_entries import text_of
from sidecar.core.passkeys import Passkey
from sidecar.core.snapshot import PolicyRecord
from sidecar.state.changes import changes_floor
from sidecar.state.codec import TENANT_U64, U64, decode, short_hash
from sidecar.state.environment import Table, Txn
from sidecar.state.records import Kind, Record
from sidecar.state.rows import tenant_rows

_record: Final = msgspec.msgpack.Decoder(Record)
_token: Final = msgspec.msgpack.Decoder(Token)

_BY_KIND: Final = b"\x01"
_BY_OWNER: Final = b"\x02"
_BY_EXTERNAL_ID: Final = b"\x03"

_MADE: Final = {"policy_created": (Kind.POLICY, "policy"), "token_created": (Kind.TOKEN, "token")}
_ACCOUNTS: Final = {"account_created": "active", "account_closed": "closed"}
_CHANGED: Final = {
    "identity": ((Kind.IDENTITY, "chain"),),
    "kill": ((Kind.IDENTITY, "chain"),),
    "budget": ((Kind.BUDGET, "budgets"),),
    "card": ((Kind.CARD, "cards"),),
    "grant": ((Kind.GRANT, "grants"), (Kind.PASSKEY, "passkeys")),  # what signs counts its signatures
    "passkey": ((Kind.PASSKEY, "passkeys"),),
}
_ENDED: Final = {
    "budget_deleted": (Kind.BUDGET, "budget"),
    "policy_deleted": (Kind.POLICY, "policy"),
    "passkey_deleted": (Kind.PASSKEY, "passkey"),
    "token_revoked": (Kind.TOKEN, "token"),
}
_KINDS: Final = {kind.name.lower(): kind for kind in Kind}
_LOOKED_AT: Final = (
    (Kind.IDENTITY, "chain"),
    (Kind.IDENTITY, "others"),
    (Kind.BUDGET, "budgets"),
    (Kind.CARD, "cards"),
)


class Version(NamedTuple):
    """One version of a record: its revision and the hash of its fact; neither is told of a token."""

    revision: int | None
    hash: str | None


class Told:
    """What a log tells of the tenant's records so far: of each that exists, its newest version."""

    def __init__(self, fact: Callable[[str, int], bytes | None]) -> None:
        """Begin before the first record; ``fact`` returns what lies at an address that a record names."""
        self._fact = fact
        self.newest: dict[tuple[Kind, str], Version] = {}

    def note(self, seq: int, fields: Mapping[str, Any]) -> Iterator[str]:
        """Take in the next record of the log; yield a sentence for each version it names that was not the newest.

        A decision is made on what its own transaction sees, so it can name no other.
        """
        name = fields.get("type", "")
        if name in {"decision", "forced"}:
            yield from self._compare(seq, fields)
        elif name == "followed":
            yield from self._follow(seq, fields)
        elif name in _ENDED:
            kind, field = _ENDED[name]
            self.newest.pop((kind, fields[field]), None)
        elif name in _MADE:
            kind, field = _MADE[name]
            self.newest[kind, fields[field]] = Version(fields.get("revision"), fields.get("text"))
        elif name in _ACCOUNTS:
            told = (fields["identity"], fields["asset"], fields["network"], _ACCOUNTS[name])
            self.newest[Kind.ACCOUNT, fields["account"]] = _version(fields["revision"], _account_fact(*told))
        else:
            for kind, field in _CHANGED.get(name.partition("_")[0], ()):
                for key, revision, digest in fields.get(field, ()):
                    self.newest[kind, key] = Version(revision, digest)

    def _follow(self, seq: int, fields: Mapping[str, Any]) -> Iterator[str]:
        """Take in what a follower took over: a list of its own, by the address that the record names."""
        content = self._fact(fields["changes"], seq)
        if content is None:
            yield f"the list of what was followed with record {seq} is missing"
            return
        for noun, key, revision, fact, *_ in orjson.loads(content):
            if fact is None:
                self.newest.pop((_KINDS[noun], key), None)
                continue
            self.newest[_KINDS[noun], key] = Version(revision, fact) if fact else Version(None, None)
            lies = self._fact(fact, seq) if fact else None
            if lies is not None and text_of(sha256(lies).digest()) != fact:
                yield f"the fact of {noun} `{key}` behind record {seq} was changed"

    def _compare(self, seq: int, fields: Mapping[str, Any]) -> Iterator[str]:
        for kind, field in _LOOKED_AT:
            for key, revision, digest, *_ in fields.get(field, ()):
                if self.newest.get((kind, key)) != (revision, digest):
                    yield f"record {seq} was decided on a {_name(kind, key)} that the log did not tell of"


class Content(NamedTuple):
    """What a document says of itself: its id, owner and external id, and the version that the log tells of."""

    key: str
    owner: str | None
    external_id: str | None
    version: Version


def check_records(
    txn: Txn, tables: dict[str, Table], number: int, told: Told, keys: Mapping[str, Token]
) -> Iterator[str]:
    """Yield a sentence for each record of a tenant that does not hold.

    ``told`` is what its whole log tells, ``keys`` are its tokens by their public parts.
    """
    index: set[tuple[bytes, bytes]] = set()
    tokens: dict[str, Token] = {}
    newest = dict(told.newest)
    for row, value in tenant_rows(txn, tables["records"], number):
        key = row[1:].decode()
        try:
            kind, record = Kind(row[0]), decode(value, _record)
            content = _CONTENTS[kind](record.document)
            tokens |= {key: _token.decode(record.document)} if kind == Kind.TOKEN else {}
        except (ValueError, StoreUnusable) as error:  # msgspec's errors are ValueErrors
            yield f"record `{key}` cannot be read: {error}"
            continue
        index.update((place, row[1:]) for place in _places(kind, record))
        yield from _check_change(txn, tables, number, kind, key, record.revision)
        yield from _check_content(kind, key, record, content)
        yield from _check_version(_name(kind, key), content.version, newest.pop((kind, key), None))
    for kind, key in newest:
        yield f"{_name(kind, key)} is in the log and not in the store"
    yield from _check_index(txn, tables, number, index)
    yield from _check_tokens(tokens, keys)


def _check_content(kind: Kind, key: str, record: Record, content: Content) -> Iterator[str]:
    if content[:3] != (key, record.owner, record.external_id):
        yield f"{_name(kind, key)} is filed under another id, owner or external id than its own"
    if content.version.revision not in {None, record.revision}:
        yield f"{_name(kind, key)} is filed with revision {record.revision}, its own is {content.version.revision}"


def _check_version(name: str, stored: Version, told: Version | None) -> Iterator[str]:
    if told is None:
        yield f"{name} is in the store and not in the log"
    elif told != stored:
        yield f"{name} is not what its newest record in the log tells"


def _check_change(
    txn: Txn, tables: dict[str, Table], number: int, kind: Kind, key: str, revision: int
) -> Iterator[str]:
    """The newest change of a record is in the change feed, unless it is older than what is kept."""
    if revision > changes_floor(txn, tables["changes_floors"], number):
        told = txn.get(TENANT_U64.pack(number, revision) + bytes((kind,)) + short_hash(key), db=tables["changes"])
        if told is None or bytes(told) != key.encode():
            yield f"{_name(kind, key)} has changed at revision {revision}, and the change feed does not tell so"


def _check_index(txn: Txn, tables: dict[str, Table], number: int, expected: set[tuple[bytes, bytes]]) -> Iterator[str]:
    for row in tenant_rows(txn, tables["index"], number):
        if row in expected:
            expected.remove(row)
        else:
            yield f"the index names `{row[1].decode()}` {_LISTS.get(row[0][:1], 'in no list')}, which is not so"
    for place, key in sorted(expected):
        yield f"{_name(Kind(place[1]), key.decode())} is missing in the index {_LISTS[place[:1]]}"


def _check_tokens(tokens: Mapping[str, Token], keys: Mapping[str, Token]) -> Iterator[str]:
    """By id and by public part lies the same token, once."""
    left = dict(keys)
    for token_id, token in tokens.items():
        if left.pop(token.key_id, None) != token:
            yield f"token `{token_id}` is another one by its public part, or none"
    for key_id in left:
        yield f"the public part `{key_id}` opens a token that is not in the tenant"


def _places(kind: Kind, record: Record) -> Iterator[bytes]:
    """Yield where the index lists a record, written down a second time, so that a mistake there shows here."""
    name, place = bytes((kind,)), U64.pack(record.place)
    yield _BY_KIND + name + place
    if record.owner is not None:
        yield _BY_OWNER + name + short_hash(record.owner) + place
    if record.external_id is not None:
        yield _BY_EXTERNAL_ID + name + short_hash(record.external_id)


def _identity(document: msgspec.Raw) -> Content:
    identity = msgspec.msgpack.decode(document, type=Identity)
    found_by = None if identity.status == "revoked" else identity.external_id
    version = _version(identity.revision, identity_fact(identity))
    return Content(identity.identity_id, identity.parent_id, found_by, version)


def _policy(document: msgspec.Raw) -> Content:
    policy = msgspec.msgpack.decode(document, type=PolicyRecord)
    return Content(policy.policy_id, policy.identity_id, None, _version(policy.revision, policy.cedar.encode()))


def _budget(document: msgspec.Raw) -> Content:
    budget = msgspec.msgpack.decode(document, type=Budget)
    return Content(budget.budget_id, budget.owner, None, _version(budget.revision, budget_fact(budget)))


def _card(document: msgspec.Raw) -> Content:
    card = msgspec.msgpack.decode(document, type=Card)
    reference = None if card.external_ref is None else card.external_ref.key
    return Content(card.card_id, card.identity_id, reference, _version(card.revision, card_fact(card)))


def _grant(document: msgspec.Raw) -> Content:
    grant = msgspec.msgpack.decode(document, type=Grant)
    return Content(grant.grant_id, grant.identity_id, grant.found_by, _version(grant.revision, grant_fact(grant)))


def _passkey(document: msgspec.Raw) -> Content:
    passkey = msgspec.msgpack.decode(document, type=Passkey)
    found_by = url_safe(passkey.credential_id)
    return Content(passkey.passkey_id, passkey.identity_id, found_by, _version(passkey.revision, passkey_fact(passkey)))


def _token_content(document: msgspec.Raw) -> Content:
    token = _token.decode(document)
    return Content(token.token_id, token.identity_id, None, Version(None, None))


def _account(document: msgspec.Raw) -> Content:
    account = msgspec.msgpack.decode(document, type=Account)
    fact = _account_fact(account.identity_id, account.asset, account.network, account.status)
    return Content(account.account_id, account.identity_id, None, _version(account.revision, fact))


def _account_fact(identity_id: str, asset: str, network: str, status: str) -> bytes:
    """Return what the log tells of an account in clear, for it keeps no fact of one."""
    return f"{identity_id}\n{asset}\n{network}\n{status}".encode()


def _version(revision: int, fact: bytes) -> Version:
    return Version(revision, text_of(sha256(fact).digest()))


def _name(kind: Kind, key: str) -> str:
    return f"{kind.name.lower()} `{key}`"


_LISTS: Final = {_BY_KIND: "by kind", _BY_OWNER: "by owner", _BY_EXTERNAL_ID: "by external id"}
_CONTENTS: Final[dict[Kind, Callable[[msgspec.Raw], Content]]] = {
    Kind.IDENTITY: _identity,
    Kind.POLICY: _policy,
    Kind.BUDGET: _budget,
    Kind.CARD: _card,
    Kind.TOKEN: _token_content,
    Kind.GRANT: _grant,
    Kind.PASSKEY: _passkey,
    Kind.ACCOUNT: _account,
}
