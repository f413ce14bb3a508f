"""Ids that ascend within a process, whatever the clock and the threads do."""

from threading import Thread

import pytest

from sidecar.app import sources
from sidecar.app.sources import AscendingIds
from sidecar.core.ids import ulid_bytes

NOW_US = 1_800_000_000_000_000


def test_a_later_id_sorts_after_an_earlier_one() -> None:
    """Also where the clock stands still, goes on by less than a millisecond, or goes back."""
    new_id = AscendingIds()
    made = [new_id("dec", NOW_US + step) for step in (0, 0, 999, 1_000, 5_000, 1_000, -NOW_US, 6_000)]
    assert made == sorted(set(made))
    milliseconds = [int.from_bytes((ulid_bytes(each, "dec") or b"")[:6], "big") - NOW_US // 1_000 for each in made]
    assert milliseconds == [0, 0, 0, 1, 5, 5, 5, 6]


def test_randomness_is_drawn_for_every_millisecond_and_its_top_bit_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting up from it never reaches the next millisecond. One draw of the pool makes many ids."""
    drawn: list[int] = []

    def urandom(length: int) -> bytes:
        drawn.append(length)
        return b"\xff" * length

    monkeypatch.setattr("os.urandom", urandom)
    new_id = AscendingIds()
    made = [ulid_bytes(new_id("dec", NOW_US + step * 1_000), "dec") or b"" for step in range(410)]
    assert {each[6:] for each in made} == {b"\x7f" + b"\xff" * 9}
    assert drawn == [sources.POOL_BYTES] * 2


def test_threads_never_make_the_same_id() -> None:
    new_id, made = AscendingIds(), []

    def make() -> None:
        made.append([new_id("dec", NOW_US) for _ in range(2_000)])

    threads = [Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each == sorted(each) for each in made)
    assert len({one for each in made for one in each}) == 8_000
