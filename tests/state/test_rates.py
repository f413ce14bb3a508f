"""Counts of rate limits: shared by processes, of fixed size, and never the reason for a refusal when they fail."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from sidecar.core.admission import Bucket
from sidecar.core.rates import RateLimit
from sidecar.state import rates as module
from sidecar.state.rates import REST_US, WARNING_US, RateCounts

ROOT = Path(__file__).parent.parent.parent
NOW_US = 1_773_057_600_000_000
HOUR_US = 3_600_000_000


def bucket(key: str, count: int = 3) -> Bucket:
    """An hourly limit of a caller."""
    return Bucket("token", key, RateLimit(count, 3_600))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the counts lie."""
    return tmp_path / "rates"


@pytest.fixture
def counts(path: Path) -> Iterator[RateCounts]:
    """The counts of one process."""
    opened = RateCounts(path)
    yield opened
    opened.close()


def remaining(counts: RateCounts, *buckets: Bucket, now_us: int = NOW_US) -> list[int] | None:
    """Make a request; returns what is left of each limit, None when it was refused."""
    admission = counts.admit(buckets, now_us)
    assert admission is not None
    if admission.retry_after_seconds is not None:
        return None
    return [each.remaining for each in admission.quotas]


def test_each_key_is_counted_for_itself(counts: RateCounts) -> None:
    assert [remaining(counts, bucket("a")) for _ in range(4)] == [[2], [1], [0], None]
    assert remaining(counts, bucket("b")) == [2]
    assert remaining(counts, bucket("b"), bucket("c")) == [1, 2]


def test_what_is_refused_by_one_limit_is_counted_under_none(counts: RateCounts) -> None:
    small, large = bucket("small", 1), bucket("large", 10)
    assert [remaining(counts, large, small) for _ in range(5)] == [[9, 0], None, None, None, None]
    assert remaining(counts, large) == [8]


def test_two_that_have_opened_the_file_share_the_counts(counts: RateCounts, path: Path) -> None:
    other = RateCounts(path)
    assert [remaining(each, bucket("a")) for each in (counts, other, counts, other)] == [[2], [1], [0], None]
    other.close()
    other.close()
    assert remaining(other, bucket("b")) == [2], "opened again"
    other.close()


SEND = """
import sys
from pathlib import Path
from sidecar.core.admission import Bucket
from sidecar.core.rates import RateLimit
from sidecar.state.rates import RateCounts
counts = RateCounts(Path(sys.argv[1]))
buckets = (Bucket("tenant", "t", RateLimit(1000, 3600)), Bucket("token", sys.argv[2], RateLimit(700, 3600)))
sys.stdin.readline()
admissions = [counts.admit(buckets, int(sys.argv[3])) for _ in range(600)]
print(sum(each.retry_after_seconds is None for each in admissions))
"""


def test_processes_that_count_at_once_let_in_what_the_limit_says_together(counts: RateCounts, path: Path) -> None:
    senders = [
        subprocess.Popen(
            [sys.executable, "-c", SEND, str(path), key, str(NOW_US)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for key in ("k1", "k2")
    ]
    let_in = [int(out) for out, _ in [sender.communicate("go\n", timeout=60) for sender in senders]]
    assert sum(let_in) == 1_000
    assert remaining(counts, Bucket("tenant", "t", RateLimit(1_000, 3_600))) is None
    left = [remaining(counts, Bucket("token", key, RateLimit(700, 3_600))) for key in ("k1", "k2")]
    assert left == [[699 - each] for each in let_in]


def test_counts_outlive_their_process(counts: RateCounts, path: Path) -> None:
    remaining(counts, bucket("a"))
    counts.close()
    assert remaining(RateCounts(path), bucket("a")) == [1]


@pytest.mark.parametrize("content", [b"", b"sidecar-rates/2\n", os.urandom(8_000_000)], ids=["empty", "newer", "noise"])
def test_a_file_that_is_none_of_ours_is_made_anew(counts: RateCounts, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert [remaining(counts, bucket("a")) for _ in range(4)] == [[2], [1], [0], None]
    assert path.stat().st_size < 8_000_000
    assert path.stat().st_mode & 0o777 in {0o600, 0o644}


def test_the_file_is_for_its_owner_and_takes_the_disk_that_it_uses(counts: RateCounts, path: Path) -> None:
    assert not path.exists(), "nobody was limited yet"
    for number in range(10):
        remaining(counts, bucket(f"key {number}"))
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_blocks * 512 <= 256 * 1024


def test_noise_in_a_slot_shuts_nobody_out(counts: RateCounts, path: Path) -> None:
    """It stands for an arrival time far ahead: one period at the most is believed."""
    remaining(counts, bucket("a"))
    content = bytearray(path.read_bytes())
    _, start = module._place("a")  # noqa: SLF001 -- where the damage is done
    content[start + 16 : start + 24] = b"\xff" * 8
    with path.open("r+b") as file:
        file.write(content)
    assert remaining(counts, bucket("a")) is None
    assert remaining(counts, bucket("a"), now_us=NOW_US + HOUR_US // 3) == [0]


def test_what_was_cut_off_counts_as_empty(counts: RateCounts, path: Path) -> None:
    remaining(counts, bucket("a"))
    os.truncate(path, 200)
    assert [remaining(counts, bucket("a")) for _ in range(2)] == [[2], [1]]


# --- A full row -------------------------------------------------------------------------------------------------------


def test_keys_of_one_row_have_slots_of_their_own(counts: RateCounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    pairs = [(bucket(f"own {number}"), bucket(f"own {number + 1}")) for number in range(0, 8, 2)]
    assert [remaining(counts, *pair) for pair in pairs] == [[2, 2]] * 4
    assert [remaining(counts, *pair) for pair in pairs] == [[1, 1]] * 4


def test_a_slot_that_is_over_is_used_again_and_a_full_row_loses_the_nearest_to_that(
    counts: RateCounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nothing grows, nothing is pruned, and too many callers at once are let in rather than shut out."""
    monkeypatch.setattr(module, "ROWS", 1)
    callers = [bucket(f"full {number}") for number in range(9)]
    for late_us, caller in enumerate(callers[:8]):
        remaining(counts, caller, now_us=NOW_US + late_us)
    assert remaining(counts, callers[8], now_us=NOW_US + 8) == [2]
    assert [remaining(counts, caller, now_us=NOW_US + 9) for caller in callers[1:]] == [[1]] * 8
    assert remaining(counts, callers[0], now_us=NOW_US + 9) == [2], "its count was given up"
    later_us = NOW_US + 10 * HOUR_US
    assert [remaining(counts, bucket(f"later {number}"), now_us=later_us) for number in range(8)] == [[2]] * 8


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_counts_that_cannot_be_kept_limit_nobody_and_are_told_of_once_a_minute(counts: RateCounts, path: Path) -> None:
    path.mkdir()
    with capture_logs() as told:
        assert [counts.admit((bucket("a"),), NOW_US + second * 1_000_000) for second in range(60)] == [None] * 60
        assert len(told) == 1
        assert counts.admit((bucket("a"),), NOW_US + WARNING_US) is None
    assert [line["event"] for line in told] == ["rate_limits_not_applied"] * 2
    assert told[0]["log_level"] == "warning"
    assert told[0]["reason"] == "Is a directory"


def test_counts_are_kept_again_a_second_after_what_was_wrong_is_mended(counts: RateCounts, path: Path) -> None:
    path.mkdir()
    with capture_logs():
        assert counts.admit((bucket("a"),), NOW_US) is None
    path.rmdir()
    assert counts.admit((bucket("a"),), NOW_US + REST_US - 1) is None
    assert remaining(counts, bucket("a"), now_us=NOW_US + REST_US) == [2]


def test_a_full_disk_limits_nobody(counts: RateCounts, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when the file is made nor when a count is written."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    opened = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch, capture_logs() as told:
        patch.setattr(os, "pwrite", full)
        assert counts.admit((bucket("a"),), NOW_US) is None
        assert len(list(Path("/proc/self/fd").iterdir())) == opened
        patch.undo()
        assert remaining(counts, bucket("a"), now_us=NOW_US + REST_US) == [2]
        patch.setattr(os, "pwrite", full)
        assert counts.admit((bucket("a"),), NOW_US + REST_US) is None
    assert told[0]["reason"] == "No space left on device"
    other = RateCounts(path)
    assert remaining(other, bucket("a"), now_us=NOW_US + REST_US) == [1], "and the lock was given free"
    other.close()


def test_a_process_that_stopped_with_the_lock_holds_nobody_up_for_long(
    counts: RateCounts, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining(counts, bucket("a"))
    monkeypatch.setattr(module, "TRIES", 3)
    stopped = os.open(path, os.O_RDWR)
    fcntl.flock(stopped, fcntl.LOCK_EX)
    with capture_logs() as told:
        assert counts.admit((bucket("a"),), NOW_US) is None
    assert told[0]["reason"] == "another process does not give the counts free"
    os.close(stopped)
    assert remaining(counts, bucket("a"), now_us=NOW_US + REST_US) == [1]
