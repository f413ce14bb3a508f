"""A worker has policy files loaded: what it tells of the outcome, and that no end of that process harms it."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from sidecar.app import reloading as module
from sidecar.app.errand import Finding
from sidecar.app.locks import RELOAD_LOCK, try_lock
from sidecar.app.reloading import Reloader
from sidecar.core.errors import Unavailable
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.watched import content_of
from sidecar.service.announcement import Announcer
from sidecar.service.policy_store import PoliciesLoaded, Tried
from sidecar.settings import Settings
from tests.service.builders import World, only_schemas, shipped_files

ANSWER = "import sys; sys.stdin.readline(); sys.stdout.write({!r})"


class Office:
    """A worker's reloader, of which the process that does the errands is a script."""

    def __init__(self, world: World, folder: Path) -> None:
        """Have an empty folder of policies."""
        self.world = world
        self.counted: list[str] = []
        for name in ("policies", "schemas"):
            (folder / name).mkdir()
        self.settings = Settings(data_dir=folder, policies=folder / "policies", schemas=folder / "schemas")

    def reloader(self, script: str) -> Reloader:
        """A reloader whose process runs ``script``."""
        announcer = Announcer(self.world.store)
        command = (sys.executable, "-c", script)
        return Reloader(
            self.settings, self.world.store, announcer, lambda: self.world.now_us, self.counted.append, command
        )

    def answering(self, finding: Finding) -> Reloader:
        """A reloader whose process finds ``finding``."""
        return self.reloader(ANSWER.format(msgspec.json.encode(finding).decode() + "\n"))

    def tried(self) -> Tried | None:
        """What the store says was tried."""
        with self.world.store.read() as txn:
            return txn.policies_tried()

    def switch(self, files: PolicyFiles) -> None:
        """Do what the process does: switch, and note it."""
        self.world.load(files)
        loaded = PoliciesLoaded(files.digest(), 1, "watch", self.world.now_us)
        self.world.write(lambda txn: txn.keep_policies_loaded(loaded))


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """A worker with a tenant; the store holds together at the end."""
    with World(tmp_path) as world:
        world.tenant()
        yield Office(world, tmp_path)
        assert world.faults() == []


def test_a_refusal_is_counted_logged_and_noted_for_all_workers(office: Office) -> None:
    reloader = office.answering(Finding("refused", "policies/a.cedar:1:4: no"))
    with capture_logs() as logs:
        done = office.world.run(reloader("watch"))
    assert (done.outcome, done.reason, done.revision) == ("refused", "policies/a.cedar:1:4: no", done.previous)
    assert office.counted == ["refused"]
    assert [(line["event"], line["reason"], line["log_level"]) for line in logs] == [
        ("policy_files_refused", "policies/a.cedar:1:4: no", "warning")
    ]
    tried = office.tried()
    assert tried is not None
    assert tried.content == content_of(office.settings.policy_folders)
    assert tried.last is not None
    assert (tried.last.outcome, tried.last.by, tried.last.reason) == ("refused", "watch", done.reason)
    assert "policies_loaded" not in office.world.kinds()


def test_files_that_hold_already_are_told_as_such(office: Office) -> None:
    with capture_logs() as logs:
        done = office.world.run(office.answering(Finding("unchanged", files=4))("operator"))
    assert (done.outcome, done.files, office.counted) == ("unchanged", 4, ["unchanged"])
    assert [line["event"] for line in logs] == ["policy_files_unchanged"]


def test_a_load_is_told_to_every_tenant_at_once(office: Office) -> None:
    files = only_schemas()
    office.switch(files)
    finding = Finding("loaded", None, files.digest(), shipped_files().digest(), 5, ("t_9",))
    with capture_logs() as logs:
        done = office.world.run(office.answering(finding)("SIGHUP"))
    assert (done.outcome, done.revision) == ("loaded", f"sha256:{files.digest().hex()}")
    assert office.world.kinds()[-1] == "policies_loaded"
    assert [line["event"] for line in logs] == ["policy_folder_without_tenant", "policy_files_loaded"]
    assert logs[1]["digest"] == files.digest().hex()


@pytest.mark.parametrize(
    ("script", "how"), [("import os; os.kill(os.getpid(), 11)", "signal 11"), ("raise SystemExit(7)", "exit code 7")]
)
def test_files_that_end_the_process_are_refused(office: Office, script: str, how: str) -> None:
    done = office.world.run(office.reloader(script)("watch"))
    assert done.outcome == "refused"
    assert how in str(done.reason)
    assert office.counted == ["refused"]


def test_a_process_that_was_killed_behind_the_switch_has_loaded(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer is lost; the store tells."""
    files = only_schemas()
    reloader = office.reloader("")
    found = reloader._found  # noqa: SLF001 -- the switch has to happen between start and end of the process

    async def switching(errand: bytes, lock: int) -> object:
        ended = await found(errand, lock)
        await office.world.store.write(lambda txn: txn.keep_policy_files(files))
        loaded = PoliciesLoaded(files.digest(), 1, "watch", office.world.now_us)
        await office.world.store.write(lambda txn: txn.keep_policies_loaded(loaded))
        return ended

    monkeypatch.setattr(reloader, "_found", switching)
    done = office.world.run(reloader("watch"))
    assert (done.outcome, done.revision) == ("loaded", f"sha256:{files.digest().hex()}")


def test_a_process_that_ends_behind_the_live_files_leaves_the_shadow_files_refused(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shadow files may be what ended it; where there are none, nothing is said of them."""
    files = only_schemas()

    async def switching(_errand: bytes, _lock: int) -> int:
        await office.world.store.write(lambda txn: txn.keep_policy_files(files))
        return -11

    office.settings = msgspec.structs.replace(office.settings, shadow_policies=office.settings.policies)
    reloader = office.reloader("")
    monkeypatch.setattr(reloader, "_found", switching)
    with capture_logs() as logs:
        done = office.world.run(reloader("watch"))
    assert done.outcome == "loaded"
    assert done.reason is not None
    assert done.reason.startswith("the shadow policies were refused: the process that checked the files ended with sig")
    assert [line["event"] for line in logs] == ["policy_files_loaded", "shadow_files_refused"]


def test_a_load_of_shadow_files_alone_is_told_as_such(office: Office) -> None:
    live = shipped_files().digest()
    with capture_logs() as logs:
        office.world.run(office.answering(Finding("loaded", None, live, live, 5, shadow=b"\1"))("watch"))
    assert [(line["event"], line["digest"]) for line in logs] == [("shadow_files_loaded", "01")]


def test_what_was_not_looked_at_whole_is_left_to_be_tried_again(office: Office) -> None:
    finding = Finding("loaded", "the shadow policies were not loaded: full", b"new", b"old", is_whole=False)
    office.world.run(office.answering(finding)("watch"))
    tried = office.tried()
    assert tried is not None
    assert tried.content != content_of(office.settings.policy_folders)
    assert tried.last is not None
    assert (tried.last.outcome, tried.last.reason) == ("loaded", finding.reason)


def test_a_long_answer_is_taken(office: Office) -> None:
    """Each of very many folders may belong to no tenant."""
    finding = Finding("unchanged", strangers=tuple(f"t_{number:010}" for number in range(20_000)))
    answer = office.settings.data_dir / "answer"
    answer.write_bytes(msgspec.json.encode(finding) + b"\n")
    office.world.run(office.reloader(f"import sys; sys.stdin.readline(); print(open({str(answer)!r}).read())")("watch"))
    assert office.counted == ["unchanged"]


def test_an_answer_that_broke_off_is_none(office: Office) -> None:
    done = office.world.run(office.reloader(ANSWER.format('{"outcome": "unch'))("watch"))
    assert (done.outcome, "exit code 0" in str(done.reason)) == ("refused", True)


def test_a_wish_that_a_full_disk_keeps_back_is_counted_and_logged(office: Office) -> None:
    def full() -> None:
        raise Unavailable("the disk is full")

    office.world.store.require_room = full  # type: ignore[method-assign]
    with capture_logs() as logs, pytest.raises(Unavailable):
        office.world.run(office.answering(Finding("unchanged"))("SIGHUP"))
    assert office.counted == ["unavailable"]
    assert [(line["event"], line["reason"]) for line in logs] == [("policy_files_not_looked_at", "the disk is full")]


def test_what_nobody_could_look_at_is_unavailable_and_counts_as_untried(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = office.tried()
    with pytest.raises(Unavailable, match="the store is full"):
        office.world.run(office.answering(Finding("unavailable", "the store is full"))("watch"))
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.05)
    with pytest.raises(Unavailable, match="not loaded within"):
        office.world.run(office.reloader("import time; time.sleep(60)")("watch"))
    reloader = office.reloader("")
    reloader._command = ("/nowhere/at/all",)  # noqa: SLF001 -- a machine that has no room for a process
    with pytest.raises(Unavailable, match="no process could be started"):
        office.world.run(reloader("watch"))
    assert office.tried() == before
    assert office.counted == ["unavailable"] * 3


def test_the_process_gets_the_errand_and_holds_the_lock_as_long_as_it_lives(office: Office, tmp_path: Path) -> None:
    """Also where the worker that started it is gone."""
    script = f"""
import json, os, sys
errand = sys.stdin.readline()
places = [f"/proc/self/fd/{{name}}" for name in os.listdir("/proc/self/fd")]
inherited = [os.readlink(place) for place in places if os.path.exists(place)]
open({str(tmp_path / "seen")!r}, "w").write(json.dumps([json.loads(errand), inherited]))
print(json.dumps({{"outcome": "unchanged"}}))
"""
    office.world.run(office.reloader(script)("watch"))
    errand, inherited = json.loads((tmp_path / "seen").read_text())
    assert (errand["by"], errand["policies"]) == ("watch", str(tmp_path / "policies"))
    assert str(tmp_path / RELOAD_LOCK) in inherited


def test_one_at_a_time_over_all_workers(office: Office, tmp_path: Path) -> None:
    """Each worker waits for the lock that another one holds."""
    order: list[str] = []
    held = try_lock(tmp_path / RELOAD_LOCK)
    assert held is not None
    assert try_lock(tmp_path / RELOAD_LOCK) is None

    async def both() -> None:
        async def reload() -> None:
            await office.answering(Finding("unchanged"))("watch")
            order.append("reloaded")

        waiting = asyncio.create_task(reload())
        await asyncio.sleep(0.1)
        order.append("released")
        os.close(held)
        await waiting

    office.world.run(both())
    assert order == ["released", "reloaded"]
