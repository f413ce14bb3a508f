"""What can go wrong between a follower and its control plane, as values.

Those that change what a page or a snapshot says sign it anew, as a control plane would that really says so: what a
follower then refuses, it refuses for its sense and not for its digest.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
from hypothesis import strategies as st

from sidecar.core.feed import digest_of
from sidecar.core.feed_snapshot import extended, snapshot_start
from tests.replica.simulator import Asked, Exchange, Fault, Given, Headers, Loss, Reply, Upstream

WHOLE: Final = 10_000
"""Places in an answer are told in parts of this, so that a fault fits an answer of any length."""

Fields: TypeAlias = dict[str, Any]

PAGES: Final = "/v1/changes"
SNAPSHOTS: Final = "/v1/snapshot"


@dataclass(frozen=True)
class Lost:
    """Nothing comes back; what was asked took effect, or not."""

    how: Loss = "lost"
    takes_effect: bool = False

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Ask, or do not, and say nothing."""
        if self.takes_effect:
            await upstream(asked)
        return self.how


@dataclass(frozen=True)
class Cut:
    """The body ends early: with its connection, or (``is_smooth``) as if that were all of it."""

    place: int
    is_smooth: bool = False

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Give the first part."""
        given = await upstream(asked)
        part = given.body[: len(given.body) * self.place // WHOLE]
        if part == given.body:
            return given
        return given.with_body(part) if self.is_smooth else given._replace(body=part, is_cut=True)


@dataclass(frozen=True)
class Flipped:
    """One bit of the body is another one; the body is sent plain, so that it is a bit of what is said."""

    place: int
    bit: int = 0

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Flip it."""
        given = await upstream(asked.without("accept-encoding", "if-none-match"))
        if not given.body:
            return given
        body = bytearray(given.body)
        body[min(len(body) * self.place // WHOLE, len(body) - 1)] ^= 1 << self.bit
        return given.with_body(bytes(body))


@dataclass(frozen=True)
class Earlier:
    """An answer that the same asker got before at the same path comes once more: late, doubled or reordered."""

    back: int

    async def meet(self, asked: Asked, upstream: Upstream, served: Sequence[Exchange]) -> Reply:
        """Give the ``back``-th last one, the honest answer where there was none."""
        who = asked.header("authorization")
        known = [
            each.reply
            for each in served
            if each.is_honest and each.asked.path == asked.path and each.asked.header("authorization") == who
        ]
        return known[-1 - self.back % len(known)] if known else await upstream(asked)


@dataclass(frozen=True)
class Doubled:
    """The request arrives twice; the second answer is given."""

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Ask twice."""
        await upstream(asked)
        return await upstream(asked)


@dataclass(frozen=True)
class Failed:
    """An answer of something in between, or of a control plane that will not."""

    status: int
    retry_after_seconds: int | None = None
    body: bytes = b'{"error":"the simulator will not","type":"unavailable","request_id":"req_0"}'

    async def meet(self, _asked: Asked, _upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Refuse."""
        headers: Headers = (("content-type", "application/json"),)
        if self.retry_after_seconds is not None:
            headers += (("retry-after", str(self.retry_after_seconds)),)
        return Given(self.status, headers, b"").with_body(self.body)


@dataclass(frozen=True)
class NothingNew:
    """A 304 that is not true: something that remembers answers stands in between."""

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Say that nothing is new."""
        given = await upstream(asked)
        return Given(304, tuple(each for each in given.headers if each[0] == "etag"), b"")


@dataclass(frozen=True)
class Elsewhere:
    """Another control plane answers: one restored from a backup, or a strange one."""

    other: Upstream
    name: str = "another control plane"

    async def meet(self, asked: Asked, _upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Ask that one."""
        return await self.other(asked)

    def __repr__(self) -> str:
        """Say which one."""
        return f"Elsewhere({self.name})"


@dataclass(frozen=True)
class Says:
    """Pages say something else than the control plane does, under a digest that fits."""

    name: str
    change: Callable[[Fields], None]

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Have a page changed; everything else is left as it is."""
        if asked.path != PAGES:
            return await upstream(asked)
        given = await upstream(asked.without("accept-encoding", "if-none-match"))
        if given.status != 200:
            return given
        fields = orjson.loads(given.body)
        del fields["digest"]
        self.change(fields)
        fields["digest"] = digest_of(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))
        return given.with_body(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))

    def __repr__(self) -> str:
        """Say what."""
        return f"Says({self.name})"


@dataclass(frozen=True)
class Tells:
    """Snapshots tell something else than the control plane does, under digests that fit.

    ``change`` gets the decoded lines and changes them; counts and digests follow.
    """

    name: str
    change: Callable[[list[Fields]], None]

    async def meet(self, asked: Asked, upstream: Upstream, _served: Sequence[Exchange]) -> Reply:
        """Have a snapshot changed; everything else is left as it is."""
        if asked.path != SNAPSHOTS:
            return await upstream(asked)
        given = await upstream(asked.without("accept-encoding"))
        if given.status != 200:
            return given
        lines = [orjson.loads(line) for line in given.body.splitlines()]
        self.change(lines)
        return given.with_body(b"".join(line + b"\n" for line in _chained(lines)))

    def __repr__(self) -> str:
        """Say what."""
        return f"Tells({self.name})"


def _chained(lines: list[Fields]) -> list[bytes]:
    """Return the lines of a snapshot with counts and digests that fit."""
    head = lines[0]["snapshot"]
    if head["records"] == 0:
        head["digest"] = snapshot_start(head["origin"], head["scope"], head["revision"])
    digest, records = head["digest"], head["records"]
    written = []
    for fields in lines:
        for name in ("mark", "end"):
            if name in fields:
                fields[name] |= {"digest": digest, "records": records}
        line = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
        if "kind" in fields:
            digest, records = extended(digest, line), records + 1
        written.append(line)
    return written


def plain(given: Given) -> bytes:
    """Return the body of an answer as it was before it was compressed, as far as it came."""
    if given.header("content-encoding") != "gzip":
        return given.body
    return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(given.body)


# --- What a page can say ----------------------------------------------------------------------------------------------


def _told(fields: Fields, **change: object) -> None:
    """Tell of one more record, as of the page's end."""
    revision = fields["to_revision"] = fields["head"] = fields["head"] + 1
    usual = {"id": f"made-up-{change['kind']}", "revision": revision, "place": revision, "owner": None}
    fields["changes"] = [*fields.get("changes", []), usual | {"external_id": None} | change]


def unknown_kind(fields: Fields) -> None:
    """Tell of a kind of record that is not invented yet."""
    _told(fields, kind="quota", value={"quota_id": "q_1"})


def unknown_field(fields: Fields) -> None:
    """Say something beside the rest."""
    fields["surprise"] = True


def unknown_field_of_a_record(fields: Fields) -> None:
    """Tell of an identity with something beside the rest."""
    _told(fields, kind="identity", value=_identity(fields, fields["tenant"]["root_identity_id"]) | {"mood": "good"})


def unknown_format(fields: Fields) -> None:
    """Be of a later version."""
    fields["format"] = 2


def other_tenant(fields: Fields) -> None:
    """Be about somebody else."""
    fields["tenant"] |= {"tenant_id": "t_somebody_else"}


def other_origin(fields: Fields) -> None:
    """Come from another store."""
    fields["origin"] = f"{fields['origin'][:-1]}{'a' if fields['origin'][-1] != 'a' else 'b'}"


def gap(fields: Fields) -> None:
    """Leave out a revision."""
    fields["from_revision"] += 1
    fields["to_revision"] += 1
    fields["head"] += 1


def older(fields: Fields) -> None:
    """Be of a revision before the one that was asked for."""
    for name in ("from_revision", "to_revision", "head"):
        fields[name] = max(0, fields[name] - 1)
    fields["changes"] = []


def orphan(fields: Fields) -> None:
    """Tell of an identity whose parent there is not."""
    _told(fields, kind="identity", value=_identity(fields, "nobody-at-all"), owner="nobody-at-all")


def syntax_error(fields: Fields) -> None:
    """Tell of a policy that is no Cedar."""
    _told(fields, kind="policy", value=_policy(fields, "permit (principal, action resource"))


def deep_policy(fields: Fields) -> None:
    """Tell of a policy whose parentheses would crash the parser."""
    text = f"permit (principal, action, resource) when {{ {'(' * 5_000}true{')' * 5_000} }};"
    _told(fields, kind="policy", value=_policy(fields, text))


def misfit_policy(fields: Fields) -> None:
    """Tell of a policy that the schema has no action for."""
    text = 'permit (principal, action == Action::"nothing.like.it", resource);'
    _told(fields, kind="policy", value=_policy(fields, text))


def skewed(us: int) -> Callable[[Fields], None]:
    """Return what has the control plane's clock go wrong by ``us``."""

    def change(fields: Fields) -> None:
        fields["time_us"] += us

    return change


def _identity(fields: Fields, parent: str) -> Fields:
    return {
        "identity_id": "made-up-identity",
        "parent_id": parent,
        "type": "agent",
        "name": "made up",
        "created_at_us": 1,
        "revision": fields["head"] + 1,
    }


def _policy(fields: Fields, text: str) -> Fields:
    return {
        "policy_id": "made-up-policy",
        "identity_id": None,
        "name": "made up",
        "rules": None,
        "cedar": text,
        "requirements": {},
        "created_at_us": 1,
        "revision": fields["head"] + 1,
    }


# --- What a snapshot can tell -----------------------------------------------------------------------------------------


def snapshot_of_another_tenant(lines: list[Fields]) -> None:
    """Be about somebody else."""
    lines[0]["snapshot"]["tenant_id"] = "t_somebody_else"


def snapshot_of_a_later_format(lines: list[Fields]) -> None:
    """Be of a later version."""
    lines[0]["snapshot"]["format"] = 2


def snapshot_with_an_unknown_kind(lines: list[Fields]) -> None:
    """Tell of a kind of record that is not invented yet."""
    lines.insert(1, {"kind": "quota", "id": "q_1", "revision": 1, "value": {"quota_id": "q_1"}})


def snapshot_without_a_parent(lines: list[Fields]) -> None:
    """Leave out the root, which others hang on."""
    lines[:] = [line for line in lines if line.get("kind") != "identity" or line["value"]["parent_id"] is not None]


# --- All of them ------------------------------------------------------------------------------------------------------

HOURS_US: Final = 5 * 3_600_000_000

LIES: Final[Sequence[Fault]] = (
    *(
        Says(change.__name__, change)
        for change in (
            unknown_kind,
            unknown_field,
            unknown_field_of_a_record,
            unknown_format,
            other_tenant,
            other_origin,
            gap,
            older,
            orphan,
            syntax_error,
            deep_policy,
            misfit_policy,
        )
    ),
    *(
        Tells(change.__name__, change)
        for change in (
            snapshot_of_another_tenant,
            snapshot_of_a_later_format,
            snapshot_with_an_unknown_kind,
            snapshot_without_a_parent,
        )
    ),
)
"""What a control plane can say that must not be applied."""

LOSSES: Final[Sequence[Fault]] = (
    Lost("refused"),
    Lost("lost"),
    Lost("lost", takes_effect=True),
    Lost("timed out", takes_effect=True),
    *(Cut(place) for place in (0, 1, 2_500, 5_000, 9_999)),
    *(Cut(place, is_smooth=True) for place in (0, 5_000, 9_999)),
    *(Flipped(place, bit) for place in (0, 1_000, 5_000, 9_999) for bit in (0, 5)),
    *(Earlier(back) for back in range(4)),
    Doubled(),
    *(Failed(status) for status in (500, 502, 503, 504)),
    Failed(503, 1),
    Failed(429, 1),
    Failed(401),
    Failed(403),
    Failed(404, body=b"<html>no such page</html>"),
    Failed(200, body=b"{}"),
    Failed(200, body=b"[" * 2_000),
    Failed(302),
    NothingNew(),
)
"""What a network, and what stands in it, can do."""


def faults() -> st.SearchStrategy[Fault]:
    """Draw one."""
    places = st.integers(0, WHOLE)
    return st.one_of(
        st.sampled_from(LOSSES),
        st.builds(Cut, places, st.booleans()),
        st.builds(Flipped, places, st.integers(0, 7)),
        st.sampled_from(LIES),
    )
