"""How the environment is created, opened, grown, shared and refused (RELIABILITY 1)."""

import errno
import subprocess
import sys
from pathlib import Path

import lmdb
import pytest

from sidecar.core.errors import ConfigurationInvalid, StoreUnusable, Unavailable
from sidecar.state import environment as module
from sidecar.state.environment import (
    FORMAT,
    Durability,
    MapResized,
    StoreError,
    open_environment,
    open_existing,
    translate,
)
from tests.state.builders import MAP_SIZE, open_store, store_in

ROOT = Path(__file__).parent.parent.parent


def in_another_process(program: str, *arguments: str) -> str:
    """Run a Python program that can import the sidecar; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_store_is_opened_with_every_flag_written_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 1: engine 0.9, fsync of data and meta pages, no writable map, locks, cleared memory, own access only."""
    seen: list[dict[str, object]] = []
    real = lmdb.open

    def noted(path: str, **flags: object) -> lmdb.Environment:
        seen.append(flags)
        return real(path, **flags)  # type: ignore[arg-type]  # the flags that the caller wrote

    monkeypatch.setattr(lmdb, "open", noted)
    open_environment(tmp_path / "db").close()
    assert seen[-1] == {
        "lib_version": 0,
        "map_size": 1 << 38,
        "subdir": True,
        "readonly": False,
        "metasync": True,
        "sync": True,
        "map_async": False,
        "mode": 0o700,
        "create": False,
        "readahead": False,
        "writemap": False,
        "meminit": True,
        "max_readers": 512,
        "max_dbs": 64,
        "max_spare_txns": 0,
        "lock": True,
    }
    made = seen[0]
    assert (made["lib_version"], made["sync"], made["metasync"], made["mode"]) == (0, True, True, 0o700)


def test_process_crash_durability_leaves_out_the_fsync_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, object]] = []
    real = lmdb.open

    def noted(path: str, **flags: object) -> lmdb.Environment:
        seen.append(flags)
        return real(path, **flags)  # type: ignore[arg-type]  # the flags that the caller wrote

    monkeypatch.setattr(lmdb, "open", noted)
    open_environment(tmp_path / "db", durability="power-loss").close()
    safe = seen[-1]
    open_environment(tmp_path / "db", durability="process-crash").close()
    assert {name for name, value in seen[-1].items() if value != safe[name]} == {"sync", "metasync"}


@pytest.mark.parametrize(("durability", "synced"), [("power-loss", True), ("process-crash", False)])
def test_the_flags_of_a_durability_are_those_that_the_open_environment_has(
    tmp_path: Path,
    durability: Durability,
    synced: bool,  # noqa: FBT001 -- a table
) -> None:
    environment = open_environment(tmp_path / "db", durability=durability)
    flags = environment._env.flags()  # noqa: SLF001 -- nobody else may ask
    environment.close()
    assert flags["sync"] is flags["metasync"] is synced
    assert (flags["lock"], flags["writemap"], flags["map_async"], flags["readonly"]) == (True, False, False, False)


def test_nobody_else_can_read_a_store(tmp_path: Path) -> None:
    with store_in(tmp_path / "data") as environment:
        assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
        assert environment.path.stat().st_mode & 0o777 == 0o700
        assert environment.data_file().stat().st_mode & 0o777 == 0o600
        assert (environment.path / "lock.mdb").stat().st_mode & 0o777 == 0o600


def test_a_store_is_made_under_another_name_and_renamed_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut while it is made leaves no store, never half of one."""
    synced: list[Path] = []
    monkeypatch.setattr(module, "_sync", synced.append)

    class PowerCutError(Exception):
        """The machine is gone."""

    def cut(_self: Path, _target: Path) -> Path:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut)
        with pytest.raises(PowerCutError):
            open_store(tmp_path)
    assert not (tmp_path / "db").exists()
    fresh = synced[0].parent
    assert fresh.name.startswith("db.new-")
    assert synced == [fresh / "data.mdb", fresh], "file and folder are on the disk before the name is"
    with store_in(tmp_path):
        assert (tmp_path / "db" / "data.mdb").is_file()
    assert synced[-1] == tmp_path, "and the name is on the disk before anybody relies on it"


def test_a_sync_reaches_the_disk_and_closes_what_it_opened(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with store_in(tmp_path):
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_store_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        txn = environment.begin_write()
        txn.put(b"format", b"sidecar-store/2", db=environment.tables["meta"])
        txn.commit()
    with pytest.raises(StoreUnusable, match=r"has format `sidecar-store/2`, this version reads `sidecar-store/1`"):
        open_store(tmp_path)


def test_an_environment_that_is_no_store_is_refused(tmp_path: Path) -> None:
    foreign = lmdb.open(str(tmp_path / "db"), lib_version=0)
    foreign.close()
    with pytest.raises(StoreUnusable, match="has format `none`"):
        open_store(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not an LMDB file" * 1000], ids=["empty", "foreign"])
def test_a_damaged_store_is_refused_and_never_made_again(tmp_path: Path, content: bytes) -> None:
    """R1.15: making it anew would be a rollback to zero."""
    with store_in(tmp_path):
        pass
    (tmp_path / "db" / "data.mdb").write_bytes(content)
    for _ in range(2):
        with pytest.raises(StoreUnusable):
            open_store(tmp_path)


def test_a_store_whose_data_file_is_gone_is_refused_each_time(tmp_path: Path) -> None:
    with store_in(tmp_path):
        pass
    (tmp_path / "db" / "data.mdb").unlink()
    for _ in range(2):
        with pytest.raises(StoreUnusable):
            open_store(tmp_path)


def test_a_place_that_can_hold_no_store_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationInvalid, match=f"the data directory `{tmp_path}/file/data` cannot be used"):
        open_store(tmp_path / "file" / "data")


def test_looking_at_a_store_never_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match="holds no store"):
        open_existing(tmp_path / "db")
    assert list(tmp_path.iterdir()) == []
    with store_in(tmp_path):
        pass
    open_existing(tmp_path / "db").close()


def test_one_process_opens_a_store_once(tmp_path: Path) -> None:
    with store_in(tmp_path), pytest.raises(StoreUnusable, match="cannot be opened"):
        open_store(tmp_path)


def test_a_reader_keeps_the_state_that_it_began_with(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with environment.read() as txn:
            writer = environment.begin_write()
            writer.put(b"key", b"value", db=environment.tables["meta"])
            writer.commit()
            assert txn.get(b"key", db=environment.tables["meta"]) is None
        with environment.read() as txn:
            assert txn.get(b"key", db=environment.tables["meta"]) == b"value"


def test_a_failed_child_leaves_its_parent_and_its_siblings_whole(tmp_path: Path) -> None:
    """Rule 4, with the worst of failures: a full map."""
    with store_in(tmp_path) as environment:
        meta = environment.tables["meta"]
        parent = environment.begin_write()
        good = environment.begin_child(parent)
        good.put(b"good", b"1", db=meta)
        good.commit()
        bad = environment.begin_child(parent)
        with pytest.raises(lmdb.MapFullError):
            bad.put(b"bad", b"x" * (MAP_SIZE + 1), db=meta)
        bad.abort()
        late = environment.begin_child(parent)
        late.put(b"late", b"1", db=meta)
        late.commit()
        parent.commit()
        with environment.read() as txn:
            assert [txn.get(key, db=meta) for key in (b"good", b"bad", b"late")] == [b"1", None, b"1"]


def test_a_full_map_doubles_up_to_its_limit(tmp_path: Path) -> None:
    environment = open_store(tmp_path, map_size=1 << 20, map_size_max=3 << 20)
    try:
        assert [environment.grow() for _ in range(3)] == [True, True, False]
        txn = environment.begin_write()
        txn.put(b"big", b"x" * (2 << 20), db=environment.tables["meta"])
        txn.commit()
    finally:
        environment.close()


GROW = """
import sys
from pathlib import Path
from sidecar.state.environment import open_environment
environment = open_environment(Path(sys.argv[1]), map_size=1 << 20)
environment.grow()
txn = environment.begin_write()
txn.put(b"big", b"x" * (1 << 20), db=environment.tables["meta"])
txn.commit()
environment.close()
"""


def test_a_reader_takes_over_the_size_that_another_process_has_set(tmp_path: Path) -> None:
    environment = open_store(tmp_path, map_size=1 << 20)
    try:
        in_another_process(GROW, str(tmp_path / "db"))
        with environment.read() as txn:
            assert len(txn.get(b"big", db=environment.tables["meta"]) or b"") == 1 << 20
    finally:
        environment.close()


def test_a_writer_is_told_that_another_process_has_set_a_size(tmp_path: Path) -> None:
    environment = open_store(tmp_path, map_size=1 << 20)
    try:
        in_another_process(GROW, str(tmp_path / "db"))
        with pytest.raises(MapResized):
            environment.begin_write()
        environment.adopt()
        txn = environment.begin_write()
        assert len(txn.get(b"big", db=environment.tables["meta"]) or b"") == 1 << 20
        txn.abort()
    finally:
        environment.close()


DIE_READING = """
import os, sys
from pathlib import Path
from sidecar.state.environment import open_environment
environment = open_environment(Path(sys.argv[1]), map_size=1 << 20)
with environment.read() as txn:
    txn.get(b"format", db=environment.tables["meta"])
    os._exit(0)
"""


def test_the_slot_of_a_reader_that_died_is_freed(tmp_path: Path) -> None:
    """R1.10: it would keep pages from being used again for ever."""
    with store_in(tmp_path) as environment:
        in_another_process(DIE_READING, str(tmp_path / "db"))
        assert environment.reap_readers() == 1
        assert environment.reap_readers() == 0


def with_code(error: StoreError, code: int) -> StoreError:
    """The error as the binding gives it the operating system's number."""
    vars(error)["code"] = code  # the binding sets it too; its types call it final
    return error


@pytest.mark.parametrize(
    "error",
    [
        lmdb.PanicError("panic"),
        lmdb.CorruptedError("corrupted"),
        lmdb.PageNotFoundError("no page"),
        lmdb.InvalidError("no store"),
        lmdb.VersionMismatchError("version"),
        with_code(lmdb.Error("mdb_txn_commit: Input/output error"), errno.EIO),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_damaged_store_or_disk_must_not_be_used_any_more(error: StoreError) -> None:
    """Rule 19: exit, do not limp."""
    translated = translate(error)
    assert isinstance(translated, StoreUnusable)
    assert translated.message.startswith("the store must not be used any more")


@pytest.mark.parametrize(
    "error",
    [
        lmdb.MapFullError("full"),
        with_code(lmdb.Error("no space"), errno.ENOSPC),
        with_code(lmdb.DiskError("no space"), errno.ENOSPC),
        with_code(lmdb.Error("quota"), errno.EDQUOT),
    ],
    ids=["map", "disk", "disk error", "quota"],
)
def test_a_lack_of_room_is_survived(error: StoreError) -> None:
    translated = translate(error)
    assert isinstance(translated, Unavailable)
    assert translated.message == "the store is full, nothing was changed"


@pytest.mark.parametrize("error", [lmdb.Error("?"), lmdb.BadTxnError("bad"), with_code(lmdb.Error("?"), errno.EINTR)])
def test_after_any_other_error_the_outcome_is_unknown(error: StoreError) -> None:
    """Rule 3."""
    translated = translate(error)
    assert isinstance(translated, Unavailable)
    assert "the outcome is unknown" in translated.message


def test_every_error_of_the_store_means_something_to_us() -> None:
    """Whatever class a later version of the binding adds, it is one of ours, never a crash."""
    classes = [value for value in vars(lmdb).values() if isinstance(value, type) and issubclass(value, lmdb.Error)]
    assert len(classes) > 20
    assert {type(translate(each("x"))) for each in classes} == {Unavailable, StoreUnusable}


def test_the_format_is_named_in_every_store(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, environment.read() as txn:
        assert txn.get(b"format", db=environment.tables["meta"]) == FORMAT
