"""A follower that is cut off, lied to, refused or given to another tenant goes on by its rules, and says what is wrong.

Real processes; what lies stands at the control plane's port and passes on what the real one says otherwise.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.process.following import SECONDS, Following, events, reasons
from tests.process.server import Server, check_at_rest, poll
from tests.replica.faults import (
    HOURS_US,
    Flipped,
    Says,
    deep_policy,
    orphan,
    skewed,
    unknown_kind,
)
from tests.replica.simulated_port import SimulatedPort
from tests.replica.simulator import Simulator, http_upstream

STALE = "replica_stale"
SHORT = ("--max-staleness", "spend=2s,use=1h,default=2s")


@contextmanager
def in_between(plane: Server) -> Iterator[tuple[Simulator, SimulatedPort]]:
    """Put a simulator before a control plane."""
    client = httpx.AsyncClient(base_url=plane.url, timeout=SECONDS)
    simulator = Simulator(http_upstream(client))
    with SimulatedPort(simulator) as port:
        yield simulator, port
        simulator.upstream = None
        port.run(client.aclose())


def test_a_follower_that_is_cut_off_keeps_deciding_by_its_rules_and_catches_up(tmp_path: Path) -> None:
    """What spends needs fresh data, what only looks does not; a restart without the network changes neither."""
    with Following(tmp_path, *SHORT) as pair:
        pair.follower.start()
        assert pair.pays() == pair.looks() == []
        pair.plane.kill()
        poll(lambda: pair.pays() == [STALE], SECONDS)
        assert pair.looks() == []
        assert not pair.seen()["connected"]
        pair.follower.kill()
        pair.follower.start()
        assert pair.pays() == [STALE]
        assert pair.looks() == []
        assert pair.seen()["audit"]["backlog"] > 0
        pair.plane.start()
        made = pair.add("made while it was cut off")
        poll(lambda: pair.knows(made), SECONDS)
        poll(lambda: pair.pays() == [], SECONDS)
        pair.wait_until_shipped()
        assert pair.seen()["lag_revisions"] == 0
        assert pair.follower.stop() == 0
        assert pair.plane.stop() == 0
        for server in (pair.follower, pair.plane):
            check_at_rest(server.data_dir)


def test_a_token_that_is_deleted_ends_the_following_and_not_the_deciding(tmp_path: Path) -> None:
    """The log says so; what is known holds for as long as it is fresh enough, which is less long for spending."""
    with Following(tmp_path, *SHORT) as pair:
        pair.follower.start()
        assert pair.pays() == []
        with pair.operator() as operator:
            operator.ok("DELETE", f"/v1/tokens/{pair.follower_id}", token=pair.acme.key)
        poll(lambda: "control_plane_refuses_token" in events(pair.follower), SECONDS)
        assert "401" in reasons(pair.follower, "control_plane_refuses_token")[0]
        poll(lambda: pair.pays() == [STALE], SECONDS)
        assert pair.looks() == []
        assert pair.token not in pair.follower.logs()


def test_a_feed_of_another_tenant_is_refused(tmp_path: Path) -> None:
    """A follower that was started with the wrong token keeps what it has, and says what to do."""
    with Following(tmp_path) as pair:
        pair.follower.start()
        revision = pair.seen()["revision"]
        assert pair.follower.stop() == 0
        with pair.operator() as operator:
            other = operator.ok("POST", "/v1/tenants", {"name": "Other Co"})
            for number in range(revision):  # or it would not have come as far as the follower says that it is
                body = {"parent_id": other["root_identity_id"], "type": "agent", "name": str(number)}
                operator.ok("POST", "/v1/identities", body, token=other["api_key"])
        token, _ = pair.new_token(other["api_key"])
        pair.follower = pair.server("follower", pair.plane.url, token)
        pair.follower.start()
        poll(lambda: "feed_not_taken" in events(pair.follower), SECONDS)
        assert "was restored or is another one" in reasons(pair.follower, "feed_not_taken")[0]
        assert pair.seen()["revision"] == revision
        assert pair.pays() == []


@pytest.mark.parametrize("place", [5_000])
def test_a_tampered_snapshot_is_not_taken(tmp_path: Path, place: int) -> None:
    """Nothing is decided by it; a good one is taken as soon as it comes."""
    with Following(tmp_path) as pair, in_between(pair.plane) as (simulator, port):
        simulator.standing = Flipped(place, 1)
        pair.follower = pair.server("follower", port.url, pair.token)
        pair.follower.launch()
        poll(lambda: "feed_not_taken" in events(pair.follower), SECONDS)
        assert pair.follower.ready_lines() == []
        simulator.lift()
        poll(lambda: pair.follower.ready_lines() != [], SECONDS)
        assert pair.pays() == []


def test_what_must_not_be_applied_is_refused_whole_and_the_last_good_state_is_kept(tmp_path: Path) -> None:
    """Each is named in the log and in the answer of the follower, which lives through all of them."""
    refusals = {
        unknown_kind: "upgrade it",
        orphan: "nobody-at-all",
        deep_policy: "made-up-policy",
    }
    with Following(tmp_path) as pair, in_between(pair.plane) as (simulator, port):
        pair.follower = pair.server("follower", port.url, pair.token)
        pair.follower.start()
        for lie, said in refusals.items():
            simulator.standing = Says(lie.__name__, lie)
            pair.add("perhaps told by an answer that was on its way already")
            poll(lambda said=said: said in (pair.seen()["last_error"] or ""), SECONDS)  # type: ignore[misc]
            before, served = pair.seen()["revision"], len(simulator.served)
            made = pair.add(lie.__name__)
            poll(lambda served=served: len(simulator.served) > served + 1, SECONDS)  # type: ignore[misc]
            assert pair.seen()["revision"] == before
            assert not pair.knows(made)
            assert pair.pays() == []
            simulator.lift()
            poll(lambda made=made: pair.knows(made), SECONDS)  # type: ignore[misc]
        assert pair.seen()["last_error"] is None
        assert "Traceback" not in pair.follower.logs()
        assert pair.follower.stop() == 0
        check_at_rest(pair.follower.data_dir)


@pytest.mark.parametrize("hours_us", [-HOURS_US])
def test_hours_between_the_clocks_stop_decisions_until_they_agree(tmp_path: Path, hours_us: int) -> None:
    """Whichever of the two is wrong: days and hours would not be the same for both."""
    with Following(tmp_path) as pair, in_between(pair.plane) as (simulator, port):
        pair.follower = pair.server("follower", port.url, pair.token)
        pair.follower.start()
        assert pair.looks() == []
        simulator.standing = Says("skewed", skewed(hours_us))
        pair.add("something new")
        poll(lambda: pair.looks() == pair.pays() == [STALE], SECONDS)
        simulator.lift()
        pair.add("something newer")
        poll(lambda: pair.looks() == pair.pays() == [], SECONDS)


def test_a_control_plane_that_was_restored_and_went_on_otherwise_is_refused(tmp_path: Path) -> None:
    """Though it has the same address, the same tokens and a higher revision: what it says now is another story."""
    with Following(tmp_path) as pair:
        database = pair.plane.data_dir / "db" / "data.mdb"
        pair.follower.start()
        assert pair.plane.stop() == 0
        backup = database.read_bytes()
        pair.plane.start()
        lost = pair.add("made after the backup")
        poll(lambda: pair.knows(lost), SECONDS)
        pair.plane.kill()
        database.write_bytes(backup)
        pair.plane.start()
        others = [pair.add(f"made instead, {number}") for number in range(3)]
        poll(
            lambda: any("was restored or is another one" in each for each in reasons(pair.follower, "feed_not_taken")),
            SECONDS,
        )
        assert pair.knows(lost)
        assert not any(map(pair.knows, others))
        assert "was restored or is another one" in pair.seen()["last_error"]
        assert pair.follower.stop() == 0
        check_at_rest(pair.follower.data_dir)
