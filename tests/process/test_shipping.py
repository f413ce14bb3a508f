"""A follower's log at its control plane, between two real servers: all of it, once, whichever of them is killed."""

import json
from pathlib import Path

from tests.process.server import Client, Document, poll, run_sidecar
from tests.process.test_followers import Pair, paired

SECONDS = 20.0


def shipped(pair: Pair, operator: Client) -> Document:
    """What the control plane knows of its only follower, nothing before it was heard of."""
    found = operator.ok("GET", f"/v1/followers?tenant_id={pair.acme.tenant_id}")["data"]
    return found[0] if found else {"records": 0}


def own(agent: Client) -> list[str]:
    """The hashes of the follower's records."""
    return hashes(agent, "/v1/audit?limit=200")


def hashes(client: Client, path: str) -> list[str]:
    """The hashes of the records on all pages of a list."""
    page = client.ok("GET", path)
    found = [each["hash"] for each in page["data"]]
    while page["next_cursor"] is not None:
        page = client.ok("GET", f"{path}&cursor={page['next_cursor']}")
        found += [each["hash"] for each in page["data"]]
    return found


def test_what_a_follower_decides_is_read_at_its_control_plane(tmp_path: Path) -> None:
    with paired(tmp_path) as pair:
        assert pair.decides()
        size = len(own(pair.agent))
        poll(lambda: shipped(pair, pair.operator)["records"] == size, SECONDS)
        follower_id = shipped(pair, pair.operator)["follower_id"]
        tenant = f"tenant_id={pair.acme.tenant_id}"
        path = f"/v1/audit?follower_id={follower_id}&{tenant}&limit=200"
        assert hashes(pair.operator, path) == own(pair.agent)
        verified = pair.operator.ok("GET", f"/v1/audit/verify?follower_id={follower_id}&{tenant}")
        assert (verified["valid"], verified["entries_checked"], verified["facts_missing"]) == (True, size, 0)
        assert pair.follower.stop() == 0
        assert pair.plane.stop() == 0
    run = run_sidecar("audit", "verify", "--format", "json", "--data-dir", str(tmp_path / "plane" / "data"))
    assert run.returncode == 0, run.stdout + run.stderr
    own_log, shipped_log = (json.loads(line) for line in run.stdout.splitlines())
    assert "follower_id" not in own_log
    assert (shipped_log["follower_id"], shipped_log["entries_checked"]) == (follower_id, size)
    assert (shipped_log["valid"], shipped_log["facts_missing"]) == (True, 0)
    text = run_sidecar("audit", "verify", "--data-dir", str(tmp_path / "plane" / "data"))
    assert f"follower {follower_id}" in text.stdout
    assert run_sidecar("audit", "fsck", "--data-dir", str(tmp_path / "plane" / "data")).returncode == 0
