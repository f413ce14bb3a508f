"""The change feed and snapshots over HTTP: waiting, entity tags, compression, and what is refused."""

import asyncio
import gzip
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from sidecar.core.feed import Change, Page, read_page
from sidecar.core.feed_snapshot import Mark, SnapshotEnd, SnapshotHead, read_line
from sidecar.doors.native.feed import read_cursor, write_cursor
from sidecar.service import feed_snapshot
from tests.doors.door import Door, House, build, check_refusal
from tests.process.server import Answer

WAITS = 5
"""Far longer than it takes; a test that waits it out fails."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[House]:
    """A tenant of an application of its own."""
    with Door(tmp_path) as door:
        yield build(door)


def follower(house: House, identity_id: str | None = None) -> str:
    """Make a follower's token."""
    body = {"name": "follows", "kind": "follower"} | ({} if identity_id is None else {"identity_id": identity_id})
    token: str = house.ok("POST", "/v1/tokens", body)["token"]
    return token


def changes(house: House, token: str, query: str = "", **headers: str) -> Answer:
    """Ask for a page."""
    more = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return house.door.call("GET", f"/v1/changes{query}", token=token, headers=more)


def page_of(answer: Answer) -> Page:
    """Read a page."""
    assert answer.status == 200, answer
    return read_page(answer.body)


def now(page: Page) -> str:
    """The query that asks for what is new since a page."""
    return f"?since={page.to_revision}&files={page.files_digest}"


def test_a_page_over_http_is_what_the_feed_tells(house: House) -> None:
    token = follower(house, house.agent)
    assert token.startswith("fw_")
    page = page_of(changes(house, token))
    assert {house.root, house.team, house.agent, house.policy, house.budget, house.card} <= {
        change.id for change in page.changes
    }
    assert house.other not in {change.id for change in page.changes}
    assert (page.scope, page.tenant.tenant_id) == (house.agent, house.tenant_id)


def test_neither_pages_nor_snapshots_hold_a_secret(house: House) -> None:
    token = follower(house)
    told = changes(house, token).body + house.call("GET", "/v1/snapshot", token=token).body
    for secret in (house.key, house.agent_token, token):
        whole, part = secret, secret.rsplit("_", 2)[-2]
        assert whole.encode() not in told
        assert part.encode() not in told


def test_what_did_not_change_is_answered_without_a_body(own: House) -> None:
    token = follower(own)
    first = changes(own, token)
    tag = first.headers["etag"]
    since = now(page_of(first))
    again = changes(own, token, since, if_none_match=f'"other", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in again.headers
    own.ok("POST", f"/v1/identities/{own.other}/revoke", {})
    changed = changes(own, token, since, if_none_match=tag)
    assert [change.id for change in page_of(changed).changes] == [own.other]
    assert changed.headers["etag"] != tag


def test_a_page_is_compressed_for_whoever_takes_that(house: House) -> None:
    token = follower(house)
    plain, packed = (changes(house, token, accept_encoding=coding) for coding in ("identity", "gzip"))
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    assert page_of(packed).changes == page_of(plain).changes
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?since=-1", "since"),
        ("?since=x", "since"),
        ("?since=1.0", "since"),
        ("?wait=31", "wait"),
        ("?wait=", "wait"),
        ("?files=abc", "files"),
        ("?files=" + "A" * 64, "files"),
        ("?until=3", "until"),
        ("?mark=", "mark"),
        ("?mark=3", "mark"),
        ("?mark=03:" + "A" * 43, "mark"),
        ("?mark=3:" + "A" * 42 + "B", "mark"),
        ("?since=1&since=2", None),
    ],
)
def test_a_query_that_cannot_be_is_refused(house: House, query: str, field: str | None) -> None:
    check_refusal(changes(house, follower(house), query), 400, field)


def test_who_is_refused(house: House, neighbour: House) -> None:
    """Nobody, agents, those of other tenants, and a follower whose token was deleted; the operator names a tenant."""
    token = follower(house)
    for path in ("/v1/changes", "/v1/snapshot"):
        check_refusal(house.door.call("GET", path, token=None), 401)
        check_refusal(house.door.call("GET", path, token=house.agent_token), 403)
        check_refusal(house.door.call("GET", f"{path}?tenant_id={neighbour.tenant_id}", token=token), 403, "tenant_id")
        check_refusal(house.door.call("GET", path), 400, "tenant_id")
        check_refusal(house.door.call("GET", f"{path}?tenant_id=t_none"), 404, "tenant_id")
        assert house.door.call("GET", f"{path}?tenant_id={house.tenant_id}").status == 200
        assert house.call("GET", path).status == 200
    made = house.ok("POST", "/v1/tokens", {"name": "gone", "kind": "follower"})
    house.call("DELETE", f"/v1/tokens/{made['token_id']}")
    check_refusal(changes(house, made["token"]), 401)


def test_a_follower_reads_only_what_is_told_to_it(house: House) -> None:
    """Its token opens the feed and nothing that changes anything."""
    token = follower(house, house.agent)
    check_refusal(house.door.call("POST", "/v1/tokens", {"name": "x"}, token=token), 403)
    check_refusal(house.door.call("POST", f"/v1/identities/{house.agent}/revoke", {}, token=token), 403)


def test_who_knows_more_than_is_reached_here_is_told_so(house: House) -> None:
    token = follower(house)
    head = page_of(changes(house, token)).head
    sentence = check_refusal(changes(house, token, f"?since={head + 1}"), 409, "since")
    assert f"`{head}`" in sentence


# --- Waiting ----------------------------------------------------------------------------------------------------------


def waited(house: House, token: str, query: str, *paths: tuple[str, str, object]) -> httpx.Response:
    """Ask for a page that is not there yet, and make calls with the tenant's key while that waits."""

    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(house.door.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://sidecar.test") as http:
            asked = {"Authorization": f"Bearer {token}"}
            waiting = asyncio.create_task(http.get(f"/v1/changes{query}&wait={WAITS}", headers=asked))
            await asyncio.sleep(0.02)
            assert not waiting.done()
            for method, path, body in paths:
                made = await http.request(method, path, json=body, headers={"Authorization": f"Bearer {house.key}"})
                assert made.status_code in {200, 201, 204}, made.text
            return await asyncio.wait_for(waiting, WAITS - 1)

    return house.door.run(run())


def test_a_change_ends_the_wait(own: House) -> None:
    token = follower(own)
    page = page_of(changes(own, token))
    answer = waited(own, token, now(page), ("POST", f"/v1/identities/{own.agent}/revoke", {}))
    told = read_page(answer.content)
    assert [change.id for change in told.changes] == [own.agent]
    assert told.to_revision == page.to_revision + 1


def test_a_change_elsewhere_ends_the_wait_and_tells_the_revision_only(own: House) -> None:
    """A follower of a subtree learns that it is up to date with what it may not see."""
    token = follower(own, own.agent)
    page = page_of(changes(own, token))
    answer = waited(own, token, now(page), ("POST", f"/v1/identities/{own.other}/revoke", {}))
    told = read_page(answer.content)
    assert (told.changes, told.to_revision) == ((), page.to_revision + 1)


def test_a_token_that_is_deleted_meanwhile_gets_no_page(own: House) -> None:
    made = own.ok("POST", "/v1/tokens", {"name": "gone", "kind": "follower"})
    page = page_of(changes(own, made["token"]))
    answer = waited(own, made["token"], now(page), ("DELETE", f"/v1/tokens/{made['token_id']}", None))
    assert answer.status_code == 401


def test_a_wait_ends_by_itself(own: House) -> None:
    token = follower(own)
    page = page_of(changes(own, token))
    again = page_of(changes(own, token, f"{now(page)}&wait=1"))
    assert (again.changes, again.to_revision, again.head) == ((), page.head, page.head)


# --- Snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_over_http_can_be_taken_up_at_each_mark(own: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_snapshot, "MARK_EVERY", 2)
    monkeypatch.setattr(feed_snapshot, "ROUND_RECORDS", 3)
    token = follower(own)
    whole = own.call("GET", "/v1/snapshot", token=token)
    assert whole.headers["content-type"] == "application/x-ndjson"
    assert "content-length" not in whole.headers
    lines = [read_line(line) for line in whole.body.splitlines()]
    head, end = lines[0], lines[-1]
    assert isinstance(head, SnapshotHead)
    assert isinstance(end, SnapshotEnd)
    records = [line for line in lines if isinstance(line, Change)]
    assert end.records == len(records)
    marks = [line for line in lines if isinstance(line, Mark)]
    assert len(marks) == len(records) // 2
    for mark in marks:
        rest = own.call("GET", f"/v1/snapshot?cursor={mark.cursor}", token=token)
        again = [read_line(line) for line in rest.body.splitlines()]
        assert isinstance(again[0], SnapshotHead)
        assert (again[0].records, again[0].digest) == (mark.records, mark.digest)
        assert [line for line in again if isinstance(line, Change)] == records[mark.records :]
        assert again[-1] == end


def test_a_snapshot_is_compressed_piece_by_piece(house: House) -> None:
    token = follower(house)
    plain = house.door.call("GET", "/v1/snapshot", token=token, headers=[("Accept-Encoding", "identity")])
    packed = house.door.call("GET", "/v1/snapshot", token=token, headers=[("Accept-Encoding", "gzip")])
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.body == plain.body
    assert gzip.compress(b"")  # the reader of the test undid it


def test_a_cursor_that_no_snapshot_gave_out_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was changed in it, and whosever it is."""
    monkeypatch.setattr(feed_snapshot, "MARK_EVERY", 1)
    token = follower(house, house.agent)

    def asked(cursor: str, by: str = token) -> Answer:
        return house.call("GET", f"/v1/snapshot?cursor={cursor}", token=by)

    lines = [read_line(line) for line in house.call("GET", "/v1/snapshot", token=token).body.splitlines()]
    cursor = next(line.cursor for line in lines if isinstance(line, Mark))
    assert asked(cursor).status == 200
    for bad in (cursor[:-1], cursor + "A", "x", "", "%20", cursor.swapcase()):
        check_refusal(asked(bad), 400, "cursor")
    check_refusal(asked(cursor, follower(house)), 400, "cursor")
    begun = read_cursor(cursor)
    for changed in ({"revision": begun.revision + 999}, {"origin": "elsewhere"}, {"tenant_id": "t_other"}):
        check_refusal(asked(write_cursor(msgspec.structs.replace(begun, **changed))), 400, "cursor")


@pytest.mark.parametrize("stage", [0, 1])
def test_a_made_up_place_shows_nothing_of_strangers(house: House, stage: int) -> None:
    """A cursor opens nothing: its place must be in what is told anyway."""
    token = follower(house, house.agent)
    begun = next(iter(cursors(house, token)))
    with_all = page_of(changes(house, follower(house)))
    other = next(change.place for change in with_all.changes if change.id == house.other)
    for place in (other, other + 10_000):
        there = msgspec.structs.replace(begun.place, stage=stage, identity=place)
        cursor = write_cursor(msgspec.structs.replace(begun, place=there))
        check_refusal(house.call("GET", f"/v1/snapshot?cursor={cursor}", token=token), 400, "cursor")


def cursors(house: House, token: str) -> Iterator[feed_snapshot.Begun]:
    """Yield where a snapshot can be taken up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed_snapshot, "MARK_EVERY", 1)
        lines = house.call("GET", "/v1/snapshot", token=token).body.splitlines()
    for line in map(read_line, lines):
        if isinstance(line, Mark):
            yield read_cursor(line.cursor)
