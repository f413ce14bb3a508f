"""The change feed as values: what a control plane tells a follower, how it is written, and what shows that it is whole.

A *page* tells every record that changed after one revision up to another, each as it is now, so that whoever has
applied all pages up to ``head`` has the state of ``head``. A reader that is older than the writer must not
lose what it does not know: a kind, a field or a format that is new to it is refused, never skipped.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import msgspec
import orjson

from sidecar.core.access import Token
from sidecar.core.authzen import Authzen
from sidecar.core.budget import Budget
from sidecar.core.cards import Card
from sidecar.core.directory import Identity, Mode
from sidecar.core.errors import ValidationFailed
from sidecar.core.log_entries import digest_of as log_digest_of
from sidecar.core.model import AuditMark
from sidecar.core.rates import RateLimit
from sidecar.core.snapshot import PolicyFiles, PolicyRecord

T = TypeVar("T")

FORMAT: Final = 1
"""Version of pages and snapshots; a reader refuses one it does not know."""

PAGE_RECORDS_MAX: Final = 1_000
"""Records that one page tells of."""

_MARK: Final = re.compile(r"(0|[1-9][0-9]{0,15}):([A-Za-z0-9_-]+)")

RecordKind = Literal["identity", "policy", "budget", "card", "token"]

KINDS: Final[tuple[RecordKind, ...]] = get_args(RecordKind)
"""What is followed: all that a decision rests on and that is stored as records."""


class FollowedToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token with what its stored form keeps elsewhere; ``former_digest`` is that of the secret that opens on.

    ``token.tenant`` is 0: each store numbers its tenants itself.
    """

    token: Token
    former_digest: bytes | None = None


Followed: TypeAlias = Identity | PolicyRecord | Budget | Card | FollowedToken

_TYPES: Final[Mapping[str, type[Followed]]] = {
    "identity": Identity,
    "policy": PolicyRecord,
    "budget": Budget,
    "card": Card,
    "token": FollowedToken,
}


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a feed tells of a record beside the record.

    ``revision`` is that of its newest change, ``place`` its order in every list of its kind, ``owner`` whom it belongs
    to and ``external_id`` what it is found by.
    """

    kind: RecordKind
    id: str
    revision: int
    place: int = 0
    owner: str | None = None
    external_id: str | None = None


class Change(Told, frozen=True, kw_only=True):
    """One record as it is now, or that it is gone: then ``value`` is None and of the rest only ``revision`` counts."""

    value: Followed | None = None


class TenantProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What a follower needs to know of its tenant."""

    tenant_id: str
    name: str
    mode: Mode
    time_zone: str
    root_identity_id: str
    created_at_us: int
    rate_limit: RateLimit | None = None
    authzen: Authzen = Authzen()


class PageHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a page says beside the changes.

    ``is_compacted`` says that there is no page from ``from_revision`` on any more, and a snapshot has to be taken.

    ``origin`` names the log of the tenant in the store that it comes from, and so the store itself; ``follower_id`` is
    the token that it was asked with, None where that is no follower's; ``scope`` is the identity that the follower is
    limited to, None for the whole tenant. ``head`` is the tenant's revision when the page
    was made: more pages follow while ``to_revision`` is below it. ``files`` are the policy files, left out where the
    asker has those of ``files_digest`` already. ``time_us`` is the control plane's clock. ``mark`` is where its log of
    the tenant ended, by which a later answer shows that it continues this one.

    ``outside`` are the identities beyond the scope and what is above it that there is reason to know, all of them; it
    comes with a last page that tells anything, and whoever else was known for such a reason is to be forgotten.
    """

    origin: str
    follower_id: str | None
    scope: str | None
    from_revision: int
    to_revision: int
    head: int
    time_us: int
    tenant: TenantProfile
    files_digest: str
    files: PolicyFiles | None = None
    is_compacted: bool = False
    mark: AuditMark | None = None
    outside: tuple[str, ...] | None = None


class Page(PageHead, frozen=True, kw_only=True):
    """A page of the change feed."""

    changes: tuple[Change, ...] = ()

    @property
    def is_last(self) -> bool:
        """Whether it reaches the state that the control plane was in."""
        return self.to_revision == self.head


class FeedRefused(ValidationFailed):
    """What came is not what a control plane of this version tells: nothing of it may be applied."""


def digest_of(written: bytes) -> str:
    """Return how a digest is written: lower-case hexadecimal SHA-256."""
    return hashlib.sha256(written).hexdigest()


def files_digest(files: PolicyFiles) -> str:
    """Return what stands for exactly these policy files."""
    return files.digest().hex()


def files_of(files: PolicyFiles, tenant_id: str) -> PolicyFiles:
    """Return the policy files that hold for one tenant."""
    own = files.by_tenant.get(tenant_id)
    return PolicyFiles(schemas=files.schemas, shared=files.shared, by_tenant={} if own is None else {tenant_id: own})


def write_change(change: Change) -> bytes:
    """Return a change as canonical JSON, on one line."""
    return orjson.dumps(msgspec.to_builtins(change), option=orjson.OPT_SORT_KEYS)


def read_change(line: bytes) -> Change:
    """Return the change that a line writes. Raises FeedRefused."""
    return change_of(object_of(line))


def write_page(page: Page) -> bytes:
    """Return a page as canonical JSON with its digest."""
    body = msgspec.to_builtins(page) | {"format": FORMAT}
    return orjson.dumps(body | {"digest": digest_of(_canonical(body))}, option=orjson.OPT_SORT_KEYS)


def read_page(body: bytes) -> Page:
    """Return the page that ``body`` writes.

    Raises FeedRefused for what cannot be read, for another format, for a digest that does not fit, and for a kind or a
    field that this version does not know.
    """
    fields = object_of(body)
    require_format(fields)
    claimed = fields.pop("digest", None)
    if claimed != digest_of(_canonical(fields)):
        raise FeedRefused("the page is not what its digest says: it was cut off or changed on its way")
    del fields["format"]
    changes = fields.pop("changes", [])
    if not isinstance(changes, list):
        raise FeedRefused("the changes of a page are a list")
    head = converted(fields, PageHead, "the page")
    if head.files is not None and files_digest(head.files) != head.files_digest:
        raise FeedRefused("the policy files of the page are not those that it names")
    return Page(**msgspec.structs.asdict(head), changes=tuple(change_of(each) for each in changes))


def mark_text(mark: AuditMark) -> str:
    """Return how a question names the end of a log that its asker was told of."""
    return f"{mark.seq}:{mark.hash}"


def mark_of_text(text: str) -> AuditMark:
    """Return the mark that a text names. Raises ValidationFailed."""
    found = _MARK.fullmatch(text)
    if found is None or log_digest_of(found[2]) is None:
        raise ValidationFailed("`mark` is the number of a record and its hash, with a colon between", field="mark")
    return AuditMark(int(found[1]), found[2])


def object_of(body: bytes) -> dict[str, object]:
    """Return the JSON object that ``body`` writes. Raises FeedRefused."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise FeedRefused(f"what came cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise FeedRefused("what came is no JSON object")
    return fields


def require_format(fields: Mapping[str, object]) -> None:
    """Raise FeedRefused unless ``fields`` are of a format that this version reads."""
    found = fields.get("format")
    if found != FORMAT:
        raise FeedRefused(f"the control plane writes format `{found}`, this follower reads `{FORMAT}`: upgrade it")


def _canonical(fields: Mapping[str, object]) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def change_of(fields: object) -> Change:
    """Return the change that decoded JSON is. Raises FeedRefused, also for a kind that this version does not know."""
    if not isinstance(fields, dict):
        raise FeedRefused("a change is a JSON object")
    kind = fields.get("kind")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise FeedRefused(f"a record has the kind `{kind}`, which this follower does not know: upgrade it")
    value = fields.get("value")
    what = f"{kind} `{fields.get('id')}`"
    read = None if value is None else converted(value, _TYPES[kind], what)
    told = converted({name: each for name, each in fields.items() if name != "value"}, Told, what)
    return Change(**msgspec.structs.asdict(told), value=read)


def converted(value: object, to: type[T], what: str) -> T:
    """Return decoded JSON as a value of a type. Raises FeedRefused, also for a field that would be lost by it."""
    try:
        read = msgspec.convert(value, to)
    except msgspec.ValidationError as error:
        raise FeedRefused(f"{what} cannot be read: {error}") from error
    lost = _lost(value, msgspec.to_builtins(read))
    if lost is not None:
        raise FeedRefused(f"{what} has the field `{lost}`, which this follower does not know: upgrade it")
    return read


def _lost(given: object, kept: object) -> str | None:
    """Return the name of a field of ``given`` that was not kept when it was read, None for none."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for name, value in given.items():
            found = name if name not in kept else _lost(value, kept[name])
            if found is not None:
                return str(found)
    if isinstance(given, list) and isinstance(kept, list | tuple):
        return next((found for pair in zip(given, kept, strict=False) if (found := _lost(*pair)) is not None), None)
    return None


def state_digest(changes: Iterable[Change]) -> str:
    """Return what stands for a whole followed state, in whatever order its records come."""
    return digest_of(b"\n".join(sorted(write_change(change) for change in changes)))
