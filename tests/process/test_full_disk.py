"""No room: the map grows by itself, a full disk is a clean 503, what ends a hold still works, and service resumes."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.state.headroom import LOOK_SECONDS
from tests.process.server import (
    Answer,
    Client,
    Document,
    Server,
    check_at_rest,
    found_acme,
    poll,
    serving,
)

MEBIBYTE = 1 << 20
PADDING = {"filler": "x" * 1_900}
FULL_AFTER_MAX = 20_000
ENOUGH_SECONDS = 15.0


def retried(client: Client, path: str, body: Document, key: str | None = None) -> Answer:
    """Make a call until it is answered with something else than 503, which must be a clean one."""
    answers: list[Answer] = []

    def answered() -> bool:
        answers.append(client.call("POST", path, body, key=key))
        assert answers[-1].status != 503 or is_clean(answers[-1]), answers[-1]
        return answers[-1].status != 503

    poll(answered, ENOUGH_SECONDS)
    return answers[-1]


def is_clean(answer: Answer) -> bool:
    """Whether a 503 says what the documentation says it does."""
    return answer.document["type"] == "unavailable" and "retry-after" in answer.headers


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_map_grows_without_a_restart(tmp_path: Path, workers: int) -> None:
    """A store that outgrows its map goes on with a larger one, in every worker."""
    with serving(tmp_path, "--map-mib", "1", "--workers", str(workers)) as (server, operator):
        acme = found_acme(operator, [{"limit": 1_000_000}])
        others = [server.client(acme.key) for _ in range(8)]
        data_file = server.data_dir / "db" / "data.mdb"
        made = 0
        while data_file.stat().st_size <= 2 * MEBIBYTE:  # it has doubled twice
            body = {"parent_id": acme.team, "type": "agent", "name": f"agent {made}", "metadata": PADDING}
            assert retried(others[made % 8], "/v1/identities", body).status == 201
            decision = retried(others[(made + 3) % 8], "/v1/authorize", acme.request(1), key=f"key-{made}")
            assert decision.document["allowed"] is True
            made += 1
        for client in others:
            client.close()
        usage = operator.ok("GET", "/v1/budgets", token=acme.key)["data"][0]["usage"]
        assert usage["reserved"] == made
        assert server.ready_lines() == [f"ready on {server.url}"]
        assert server.stop() == 0
    check_at_rest(server.data_dir)


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A disk of 96 MiB, empty again afterwards."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(disk)]
    else:
        image = tmp_path / "image"
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("no mkfs.ext4 here")
        with image.open("wb") as file:
            file.truncate(96 * MEBIBYTE)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)  # noqa: S607 -- where it is differs
        command = ["mount", "-o", "loop", str(image), str(disk)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no {request.param} can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: S607 -- where it is differs


class Ballast:
    """A file that takes room away from the store."""

    def __init__(self, disk: Path) -> None:
        """Lie on ``disk``."""
        self._disk = disk
        self._file = disk / "ballast"

    def free_mib(self) -> int:
        """Return what is free."""
        return shutil.disk_usage(self._disk).free // MEBIBYTE

    def leave(self, mib: int) -> None:
        """Take all but ``mib``; for 0, to the last block."""
        with self._file.open("ab") as file:
            descriptor = file.fileno()
            while self.free_mib() > mib:
                os.write(descriptor, bytes(MEBIBYTE))
            if mib == 0:
                fill(descriptor)

    def drop(self) -> None:
        """Give all of it back."""
        self._file.unlink()


def fill(descriptor: int) -> None:
    """Write until nothing fits any more."""
    for size in (64 * 1024, 4096, 1):
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError:
            continue


def server_on(disk: Path, logs: Path, *flags: str) -> Server:
    """Return a server whose data lie on ``disk`` and whose logs do not."""
    server = Server(logs, "--free-mib-min", "8", *flags)
    server.data_dir = disk / "data"
    return server


def test_a_full_disk_refuses_permits_and_still_ends_holds(small_disk: Path, tmp_path: Path) -> None:
    """Below the limit no permit is given; with not a byte left, settling and releasing work; then service resumes."""
    ballast = Ballast(small_disk)
    with server_on(small_disk, tmp_path) as server, server.client() as operator:
        acme = found_acme(operator, [{"limit": 1_000}])
        held = [operator.ok("POST", "/v1/authorize", acme.request(1), token=acme.key) for _ in range(200)]
        before = operator.ok("GET", "/v1/audit/verify", token=acme.key)
        poll(lambda: ballast.free_mib() < 96 - 60, ENOUGH_SECONDS)  # the headroom is reserved
        ballast.leave(0)
        time.sleep(2 * LOOK_SECONDS)  # how old what the server has seen of the disk may be
        refused = operator.call("POST", "/v1/authorize", acme.request(1), token=acme.key, key="refused")
        assert refused.status == 503
        assert is_clean(refused)
        assert operator.ok("GET", "/v1/audit/verify", token=acme.key) == before
        assert operator.call("GET", "/readyz").status in {200, 503}
        for number, decision in enumerate(held):
            ending = "settle" if number % 2 else "release"
            ended = operator.call("POST", f"/v1/decisions/{decision['decision_id']}/{ending}", {}, token=acme.key)
            assert ended.status == 200, (number, ended)
        usage = operator.ok("GET", "/v1/budgets", token=acme.key)["data"][0]["usage"]
        assert (usage["settled"], usage["reserved"]) == (100, 0)
        ballast.drop()
        again = operator.call("POST", "/v1/authorize", acme.request(1), token=acme.key, key="refused")
        assert (again.status, again.is_replayed, again.document["allowed"]) == (200, False, True)
        assert server.stop() == 0
    check_at_rest(server.data_dir)


def test_a_disk_that_fills_up_between_two_writes_leaves_nothing_half_written(small_disk: Path, tmp_path: Path) -> None:
    """Without any reserve, the write that does not fit any more is a 503, and everything before it stands."""
    ballast = Ballast(small_disk)
    ballast.leave(2)  # less than the headroom wants, so none can be reserved
    with server_on(small_disk, tmp_path, "--free-mib-min", "0") as server, server.client() as operator:
        acme = found_acme(operator, [{"limit": 1_000_000}])
        ballast.leave(0)
        answers: list[Answer] = []

        def is_full() -> bool:
            key = f"key-{len(answers)}"
            answers.append(operator.call("POST", "/v1/authorize", acme.request(1), token=acme.key, key=key))
            return answers[-1].status != 200

        while not is_full():
            assert len(answers) < FULL_AFTER_MAX
        assert is_clean(answers[-1])
        permits = len(answers) - 1
        ballast.drop()
        again = operator.call("POST", "/v1/authorize", acme.request(1), token=acme.key, key=f"key-{permits}")
        assert again.status == 200, (again, server.logs())
        assert again.document["allowed"] is True
        usage = operator.ok("GET", "/v1/budgets", token=acme.key)["data"][0]["usage"]
        assert usage["reserved"] == permits + 1
        assert server.stop() == 0
    check_at_rest(server.data_dir)
