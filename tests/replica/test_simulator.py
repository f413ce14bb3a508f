"""The simulator is honest: without a fault it adds nothing, and each fault is exactly what it says it is."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from random import Random

import httpx
import orjson
import pytest

from sidecar.core.feed import FeedRefused, Page, TenantProfile, read_page, write_page
from sidecar.core.feed_snapshot import Mark, SnapshotEnd, SnapshotHead, extended, read_line, snapshot_start, write_line
from sidecar.replica.control_plane import ControlPlane, Rejected, Unreachable
from tests.doors.door import SetClock
from tests.process.server import OPERATOR
from tests.replica import faults
from tests.replica.control_plane_house import ControlPlaneHouse
from tests.replica.faults import Cut, Doubled, Earlier, Elsewhere, Failed, Flipped, Lost, NothingNew, Says, Tells
from tests.replica.simulated_port import SimulatedPort
from tests.replica.simulator import (
    Asked,
    Fault,
    Given,
    Message,
    Simulator,
    application_upstream,
    http_upstream,
)
from tests.replica.upheaval import TEAM, Upheaval

CHANGE = {"kind": "identity", "id": "root", "revision": 3, "place": 1, "owner": None, "external_id": None}
VALUE = {"identity_id": "root", "parent_id": None, "type": "user", "name": "Root", "created_at_us": 1, "revision": 3}
PAGE = Page(
    origin="sidecar/log",
    follower_id="tok_1",
    scope=None,
    from_revision=3,
    to_revision=5,
    head=5,
    time_us=7,
    tenant=TenantProfile(
        tenant_id="t_one", name="One", mode="live", time_zone="UTC", root_identity_id="root", created_at_us=1
    ),
    files_digest="",
)


class Toy:
    """An application that knows one page and one snapshot, and counts what it was asked."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked = 0

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer."""
        await receive()
        self.asked += 1
        accepts = dict(scope["headers"]).get(b"accept-encoding", b"")
        body = snapshot() if scope["path"] == faults.SNAPSHOTS else write_page(PAGE)
        headers = [(b"content-type", b"application/json"), (b"x-asked", scope["query_string"])]
        if b"gzip" in accepts:
            body = gzip.compress(body)
            headers.append((b"content-encoding", b"gzip"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        if b"breaks" in scope["query_string"]:
            raise RuntimeError
        await send({"type": "http.response.body", "body": body[10:]})


def snapshot() -> bytes:
    """Write a snapshot of one record."""
    start = snapshot_start("sidecar/log", None, 5)
    record = orjson.dumps(CHANGE | {"value": VALUE}, option=orjson.OPT_SORT_KEYS)
    digest = extended(start, record)
    head = SnapshotHead(origin="sidecar/log", tenant_id="t_one", scope=None, revision=5, records=0, digest=start)
    mark = Mark(cursor="here", records=1, digest=digest)
    end = SnapshotEnd(revision=5, records=1, digest=digest)
    return b"".join(line + b"\n" for line in (write_line(head), record, write_line(mark), write_line(end)))


class Bench:
    """A toy behind a simulator, and a follower's client before it."""

    def __init__(self, runner: asyncio.Runner, url: str, transport: httpx.AsyncBaseTransport | None) -> None:
        """Call through ``transport``, or over a socket to ``url``."""
        self._runner = runner
        self.control_plane = ControlPlane(url, "fw_test", transport=transport)

    def page(self, since: int = 3) -> bytes:
        """Ask for a page."""
        return self._runner.run(self.control_plane.page(since, None, 0))

    def snapshot(self) -> list[bytes]:
        """Ask for a snapshot and read all of it."""

        async def read() -> list[bytes]:
            async with self.control_plane.snapshot(None) as lines:
                return [line async for line in lines]

        return self._runner.run(read())

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self.control_plane.close())


@pytest.fixture
def toy() -> Toy:
    """What answers."""
    return Toy()


@pytest.fixture
def simulator(toy: Toy) -> Simulator:
    """What stands before it."""
    return Simulator(application_upstream(toy))


@pytest.fixture(params=["in process", "over a socket"])
def bench(request: pytest.FixtureRequest, simulator: Simulator) -> Iterator[Bench]:
    """The client before that."""
    with asyncio.Runner() as runner:
        if request.param == "in process":
            made = Bench(runner, "http://control-plane.test", simulator.transport)
            yield made
            made.close()
            return
        with SimulatedPort(simulator) as port:
            made = Bench(runner, port.url, None)
            yield made
            made.close()


def test_without_a_fault_every_answer_is_the_control_planes_own(bench: Bench, simulator: Simulator) -> None:
    """Nothing is added, and what was served is noted."""
    assert bench.page() == write_page(PAGE)
    assert b"\n".join(bench.snapshot()) + b"\n" == snapshot()
    assert [each.asked.path for each in simulator.served] == [faults.PAGES, faults.SNAPSHOTS]
    assert all(each.is_honest for each in simulator.served)
    assert simulator.asked(faults.PAGES)[0].query == {"since": "3", "wait": "0"}


@pytest.mark.parametrize(
    ("fault", "asked"),
    [(Lost("refused"), 0), (Lost("lost"), 0), (Lost("lost", takes_effect=True), 1), (Failed(502), 0), (Failed(429), 0)],
)
def test_what_is_lost_is_unreachable_and_may_have_taken_effect(
    bench: Bench, simulator: Simulator, toy: Toy, fault: Fault, asked: int
) -> None:
    """A fault that is coming meets one request."""
    simulator.coming.append(fault)
    with pytest.raises(Unreachable):
        bench.page()
    assert toy.asked == asked
    assert bench.page() == write_page(PAGE)


def test_an_answer_that_never_comes_is_given_up() -> None:
    """In process, time does not have to pass."""
    simulator = Simulator(application_upstream(Toy()))
    simulator.standing = Lost("timed out")
    with asyncio.Runner() as runner:
        bench = Bench(runner, "http://control-plane.test", simulator.transport)
        with pytest.raises(Unreachable, match="in time"):
            bench.page()
        bench.close()


def test_a_control_plane_that_is_down_refuses_connections(bench: Bench, simulator: Simulator) -> None:
    """It is back with another upstream."""
    upstream, simulator.upstream = simulator.upstream, None
    with pytest.raises(Unreachable):
        bench.page()
    simulator.upstream = upstream
    assert bench.page() == write_page(PAGE)


@pytest.mark.parametrize("place", [0, 1, 5_000, 9_999])
def test_an_answer_is_cut_at_any_byte(bench: Bench, simulator: Simulator, place: int) -> None:
    """Whoever reads it notices, at the latest by the connection."""
    simulator.coming.append(Cut(place))
    with pytest.raises(Unreachable):
        bench.page()
    simulator.coming.append(Cut(place))
    with pytest.raises(Unreachable):
        bench.snapshot()


def test_an_answer_can_end_early_as_if_it_were_whole(bench: Bench, simulator: Simulator) -> None:
    """Then only its content tells."""
    simulator.coming.append(Cut(0, is_smooth=True))
    assert bench.page() == b""
    simulator.coming.append(Cut(faults.WHOLE, is_smooth=True))
    assert bench.page() == write_page(PAGE)


def test_an_answer_that_the_application_breaks_off_is_cut(simulator: Simulator) -> None:
    """A stream that fails on its way is not taken for whole."""

    async def ask() -> Given:
        reply = await simulator.answer(Asked("GET", "/v1/changes?breaks=1", ()))
        assert isinstance(reply, Given)
        return reply

    with asyncio.Runner() as runner:
        given = runner.run(ask())
    assert given.is_cut
    assert given.body == write_page(PAGE)[:10]


def test_a_flipped_bit_is_one_bit_of_what_is_said(bench: Bench, simulator: Simulator) -> None:
    """The rest is as it was."""
    simulator.coming.append(Flipped(5_000, 3))
    body, honest = bench.page(), write_page(PAGE)
    assert [left ^ right for left, right in zip(body, honest, strict=True) if left != right] == [8]


def test_an_earlier_answer_can_come_again(bench: Bench, simulator: Simulator, toy: Toy) -> None:
    """The control plane is not asked; where nothing came before, it is."""
    simulator.coming.append(Earlier(0))
    bench.page(2)
    bench.page(3)
    bench.page(4)
    simulator.coming.extend([Earlier(1), Doubled()])
    bench.page(5)
    assert toy.asked == 3
    reply = simulator.served[-1].reply
    assert isinstance(reply, Given)
    assert reply.header("x-asked") == "since=3&wait=0"
    bench.page(5)
    assert toy.asked == 5


@pytest.mark.parametrize("fault", [Failed(401), Failed(403), Failed(302), NothingNew()])
def test_a_refusal_is_told_with_its_status(bench: Bench, simulator: Simulator, fault: Fault) -> None:
    """So is a 304 that nobody asked for."""
    simulator.standing = fault
    with pytest.raises(Rejected) as raised:
        bench.page()
    assert raised.value.status == getattr(fault, "status", 304)
    simulator.lift()
    assert bench.page() == write_page(PAGE)


@pytest.mark.parametrize("fault", [each for each in faults.LIES if isinstance(each, Says)], ids=repr)
def test_a_page_that_lies_is_signed(bench: Bench, simulator: Simulator, fault: Says) -> None:
    """It can be read unless it is of a later version: what is wrong with it is its sense."""
    simulator.coming.append(fault)
    body = bench.page()
    if fault.name.startswith("unknown"):
        with pytest.raises(FeedRefused, match="upgrade it"):
            read_page(body)
    else:
        assert read_page(body) != PAGE


@pytest.mark.parametrize("fault", [each for each in faults.LIES if isinstance(each, Tells)], ids=repr)
def test_a_snapshot_that_lies_has_digests_that_fit(bench: Bench, simulator: Simulator, fault: Tells) -> None:
    """Its end says the digest of what it told."""
    simulator.coming.append(fault)
    lines = bench.snapshot()
    assert b"\n".join(lines) + b"\n" != snapshot()
    head, end = (orjson.loads(lines[at])[name] for at, name in ((0, "snapshot"), (-1, "end")))
    digest = head["digest"]
    for line in lines:
        if b'"kind"' in line:
            digest = extended(digest, line)
    assert end["digest"] == digest
    assert digest == snapshot_start(head["origin"], head["scope"], head["revision"]) or end["records"] > 0
    if not fault.name.endswith(("format", "kind")):
        assert [read_line(line) for line in lines]


def test_chance_is_repeated_by_its_seed() -> None:
    """The same seed has the same faults meet the same requests."""

    async def weather(seed: int) -> list[bool]:
        simulator = Simulator(application_upstream(Toy()), choice=faults.LOSSES, chance=500, seed=seed)
        for _ in range(40):
            await simulator.answer(Asked("GET", "/v1/changes?since=1", ()))
        return [each.is_honest for each in simulator.served]

    with asyncio.Runner() as runner:
        first, again, other = (runner.run(weather(seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert {True, False} == set(first)


def test_another_control_plane_can_answer(tmp_path: Path) -> None:
    """One that was restored from a backup is the product too, and knows only what was in the backup."""
    with asyncio.Runner() as runner, ControlPlaneHouse(tmp_path / "cp", runner, SetClock()) as house:
        house.found()
        with house.backup(tmp_path / "backup") as restored:
            body = {"tenant_id": "t_one", "parent_id": "root", "type": "agent", "name": "new", "id": "new"}
            house.ok("POST", "/v1/identities", body)
            simulator = Simulator(house.upstream)
            asked = Asked("GET", "/v1/identities/new?tenant_id=t_one", (("authorization", f"Bearer {OPERATOR}"),))
            before = runner.run(simulator.answer(asked))
            simulator.standing = Elsewhere(restored.upstream, "restored")
            after = runner.run(simulator.answer(asked))
        house.restart()
        simulator.lift()
        simulator.upstream = house.upstream
        again = runner.run(simulator.answer(asked))
    assert [each.status for each in (before, after, again) if isinstance(each, Given)] == [200, 404, 200]


def test_a_real_server_can_answer(toy: Toy) -> None:
    """What a server sends over a socket is passed on as it came, compressed, and cut where it broke off."""
    inner = Simulator(application_upstream(toy))

    async def through(port: SimulatedPort) -> list[Given]:
        async with httpx.AsyncClient(base_url=port.url) as client:
            outer = Simulator(http_upstream(client))
            asked = Asked("GET", "/v1/changes?since=1", (("accept-encoding", "gzip"), ("host", "elsewhere")))
            whole = await outer.answer(asked)
            inner.coming.append(Cut(5_000))
            cut = await outer.answer(asked)
            plain = await outer.answer(asked.without("accept-encoding"))
            return [each for each in (whole, cut, plain) if isinstance(each, Given)]

    with asyncio.Runner() as runner, SimulatedPort(inner) as port:
        whole, cut, plain = runner.run(through(port))
    assert faults.plain(whole) == plain.body == write_page(PAGE)
    assert not whole.is_cut
    assert cut.is_cut
    assert whole.body.startswith(cut.body)


def test_every_kind_of_change_happens(tmp_path: Path) -> None:
    """What stirs a control plane up in other tests changes something by each of its means."""
    with asyncio.Runner() as runner, ControlPlaneHouse(tmp_path / "cp", runner, SetClock()) as house:
        upheaval, random = Upheaval(house, house.found()["api_key"]), Random(1)
        for _ in range(400):
            upheaval.do(random.choice(list(upheaval.changes)), random.randrange(1_000_000))
        newest, first = upheaval.history[upheaval.version], next(iter(upheaval.history.values()))
    assert first.keys() < newest.keys()
    assert newest.within(TEAM).keys() < newest.within(None).keys() <= newest.keys()
    assert upheaval.done.keys() == upheaval.changes.keys()
    assert min(upheaval.done.values()) > 0
