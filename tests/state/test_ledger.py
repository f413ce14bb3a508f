"""Counters, rolling windows and reservations, each against a list of what was booked."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.core.budget import Budget, Claim, OnExceeded, Usage
from sidecar.core.errors import Conflict, StoreUnusable
from sidecar.core.ids import id_of
from sidecar.core.reservation import HeldClaim, Posting, Reservation, expire, place, release, settle
from sidecar.core.windows import Period, Window, window_at, zone
from sidecar.service.store import Due
from sidecar.state import ledger as module
from sidecar.state.codec import U32
from sidecar.state.ledger import UNLIMITED, Ledger
from tests.state.builders import a_tenant, reading, rows, store_in, writing

SECOND = 1_000_000
DAY_S = 86_400
BUDGET_ID = id_of("bud", bytes(15) + b"\x01")
DECISION_ID = id_of("dec", bytes(15) + b"\x02")
START = 1_770_120_000 * SECOND


def budget(
    period: Period = "rolling_24h", limit: int = 100, on_exceeded: OnExceeded = "deny", budget_id: str = BUDGET_ID
) -> Budget:
    """A budget of amounts."""
    return Budget(
        budget_id=budget_id,
        identity_id="root",
        name="budget",
        dimension="amount",
        period=period,
        limit=limit,
        currency="CAD",
        on_exceeded=on_exceeded,
        created_at_us=0,
        revision=1,
    )


def window(period: Period, now_us: int) -> Window:
    """The window of an instant."""
    found = window_at(period, now_us, zone("UTC"))
    assert found is not None
    return found


def posting(period: Period, at_us: int, settled: int = 0, held: int = 0, budget_id: str = BUDGET_ID) -> Posting:
    """A change of what was claimed at an instant."""
    found = window_at(period, at_us, zone("UTC"))
    claim = HeldClaim(
        budget_id=budget_id,
        dimension="amount",
        period=period,
        window_start_us=None if found is None else found.start_us,
        on_expiry="release",
        held=held,
    )
    return Posting(claim, settled, held)


def claim(period: Period, now_us: int, asked: int = 1) -> Claim:
    """A claim on the budget."""
    return Claim(budget(period), window_at(period, now_us, zone("UTC")), asked)


def test_an_unused_window_has_used_nothing(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        assert ledger.usage(claim("daily", START)) == Usage()
        assert ledger.usage(claim("rolling_24h", START)) == Usage()
        assert ledger.usage(claim("per_transaction", START)) == Usage()
        assert ledger.reservation(DECISION_ID) is None


def test_figures_are_those_of_one_tenant_one_budget_and_one_window(tmp_path: Path) -> None:
    other = id_of("bud", bytes(15) + b"\x09")
    with store_in(tmp_path) as environment, writing(environment) as txn:
        mine = txn.of(a_tenant(1)).ledger
        mine.grant(posting("daily", START, held=7), budget("daily"))
        assert mine.usage_in(budget("daily"), window("daily", START)) == Usage(0, 7)
        assert mine.usage_in(budget("daily"), window("daily", START + DAY_S * SECOND)) == Usage()
        assert mine.usage_in(budget("daily", budget_id=other), window("daily", START)) == Usage()
        assert txn.of(a_tenant(2)).ledger.usage_in(budget("daily"), window("daily", START)) == Usage()


def test_a_limit_per_transaction_has_no_counter(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            ledger = txn.of(a_tenant()).ledger
            ledger.grant(posting("per_transaction", START, held=7), budget("per_transaction"))
            assert not ledger.book(posting("per_transaction", START, settled=7, held=-7))
            with pytest.raises(StoreUnusable, match="has no window"):
                ledger.frees_at(claim("per_transaction", START), 1)
        assert rows(environment, "counters") == []


def test_what_is_booked_beyond_what_was_granted_is_overdrawn_and_told_once(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        ledger.grant(posting("daily", START, held=90), budget("daily", limit=100))
        assert not ledger.book(posting("daily", START, settled=90, held=-90))
        assert not ledger.book(posting("daily", START, settled=10)), "up to the limit"
        assert ledger.book(posting("daily", START, settled=1)), "one beyond it"
        assert not ledger.book(posting("daily", START, settled=-1))
        assert not ledger.book(posting("daily", START, settled=1)), "as far as it was overdrawn before"
        assert ledger.book(posting("daily", START, settled=5))


def test_a_new_grant_takes_the_limit_of_its_time_as_the_bound(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        ledger.grant(posting("daily", START, held=10), budget("daily", limit=100))
        assert ledger.book(posting("daily", START, settled=100))
        ledger.grant(posting("daily", START, held=1), budget("daily", limit=500))
        assert not ledger.book(posting("daily", START, settled=389))
        assert ledger.book(posting("daily", START, settled=1))


@pytest.mark.parametrize("period", ["daily", "rolling_24h", "total"])
def test_a_changed_limit_is_the_bound_at_once_or_what_was_used_where_that_is_more(
    tmp_path: Path, period: Period
) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        ledger.grant(posting(period, START, held=60), budget(period, limit=100))
        ledger.rebound(budget(period, limit=50), window(period, START + SECOND))
        assert not ledger.book(posting(period, START, held=-20)), "less than was used"
        assert not ledger.book(posting(period, START, held=20)), "as much as was used when the limit was changed"
        assert ledger.book(posting(period, START, held=1))
        ledger.rebound(budget(period, limit=500), window(period, START + SECOND))
        assert not ledger.book(posting(period, START, held=439))
        assert ledger.book(posting(period, START, held=1))
        ledger.rebound(budget(period, limit=1, on_exceeded="track"), window(period, START + SECOND))
        assert not ledger.book(posting(period, START, held=10**12)), "a soft budget bounds nothing"


@pytest.mark.parametrize("on_exceeded", ["notify", "track"])
def test_a_soft_budget_is_never_overdrawn(tmp_path: Path, on_exceeded: OnExceeded) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        soft = budget("daily", limit=1, on_exceeded=on_exceeded)
        ledger.grant(posting("daily", START, held=10**15), soft)
        assert not ledger.book(posting("daily", START, settled=10**15))
        assert ledger.usage_in(soft, window("daily", START)).total < UNLIMITED


def test_a_counter_stops_before_it_runs_over(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        soft = budget("total", on_exceeded="track")
        ledger.grant(posting("total", START, settled=UNLIMITED), soft)
        with pytest.raises(Conflict, match="as far as it can"):
            ledger.grant(posting("total", START, settled=1), soft)
        assert ledger.usage_in(soft, window("total", START)).settled == UNLIMITED


def test_a_claim_of_one_second_counts_for_86_400_seconds(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        ledger.grant(posting("rolling_24h", START + 999_999, held=60), budget())
        last = START + (DAY_S - 1) * SECOND + 999_999
        assert ledger.usage_in(budget(), window("rolling_24h", last)) == Usage(0, 60)
        assert ledger.usage_in(budget(), window("rolling_24h", last + 1)) == Usage()


def test_claims_of_one_second_share_a_row(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            for offset in (0, 1, 999_999):
                txn.of(a_tenant()).ledger.grant(posting("rolling_24h", START + offset, held=1), budget())
        assert len(rows(environment, "rolling")) == len(rows(environment, "counters")) == 1


def test_what_ends_late_is_booked_in_the_second_of_its_hold(tmp_path: Path) -> None:
    """Once that second has left the window, it counts there and nowhere else."""
    later = START + (DAY_S + 5) * SECOND
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        ledger.grant(posting("rolling_24h", START, held=60), budget())
        ledger.grant(posting("rolling_24h", later, held=10), budget())
        assert not ledger.book(posting("rolling_24h", START, settled=60, held=-60))
        assert ledger.usage_in(budget(), window("rolling_24h", later)) == Usage(0, 10)
        ledger.book(posting("rolling_24h", later, settled=10, held=-10))
        assert ledger.usage_in(budget(), window("rolling_24h", later)) == Usage(10, 0)


def test_a_denied_amount_is_told_when_enough_will_have_left(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        for hour, amount in enumerate((10, 20, 30)):
            ledger.grant(posting("rolling_24h", START + hour * 3_600 * SECOND, held=amount), budget())
        asked = claim("rolling_24h", START + 3 * 3_600 * SECOND)

        def hours_of(needed: int) -> int:
            return (ledger.frees_at(asked, needed) - START) // SECOND - DAY_S

        assert [hours_of(needed) // 3_600 for needed in (1, 10, 11, 30, 31, 60)] == [0, 0, 1, 1, 2, 2]
        assert hours_of(61) == 3 * 3_600, "never by leaving: 24 hours from now"


def test_only_so_many_seconds_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREEING_ROWS_MAX", 2)
    with store_in(tmp_path) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        for second in range(4):
            ledger.grant(posting("rolling_24h", START + second * SECOND, held=1), budget())
        asked = claim("rolling_24h", START + 10 * SECOND)
        assert ledger.frees_at(asked, 2) == START + (DAY_S + 1) * SECOND
        assert ledger.frees_at(asked, 3) == START + (DAY_S + 10) * SECOND


STEPS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 2, 3_600, 43_200, 86_399, 86_400, 200_000)),
        st.integers(1, 60),
        st.sampled_from(("grant", "grant", "settle", "free", "late")),
        st.integers(0, 20),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(STEPS)
def test_a_rolling_window_is_the_sum_over_the_events_of_its_last_86_400_seconds(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str, int]]
) -> None:
    """Against a list of events, over any order of grants, endings and late bookings, with an advancing clock."""
    events: list[tuple[int, int, int]] = []  # second, settled, held
    now_us = START
    with store_in(tmp_path_factory.mktemp("rolling")) as environment, writing(environment) as txn:
        ledger = txn.of(a_tenant()).ledger

        def expected() -> Usage:
            now_s = now_us // SECOND
            counted = [event for event in events if now_s - DAY_S < event[0] <= now_s]
            return Usage(sum(event[1] for event in counted), sum(event[2] for event in counted))

        for seconds, amount, step, which in steps:
            now_us += seconds * SECOND
            used = ledger.usage_in(budget(), window("rolling_24h", now_us))
            assert used == expected()
            if step == "grant":
                if used.total + amount <= 100:
                    events.append((now_us // SECOND, 0, amount))
                    ledger.grant(posting("rolling_24h", now_us, held=amount), budget())
            elif events:
                second, settled, held = events[which % len(events)]
                change = {"settle": (held, -held), "free": (0, -held), "late": (amount, 0)}[step]
                events[which % len(events)] = (second, settled + change[0], held + change[1])
                ledger.book(posting("rolling_24h", second * SECOND, *change))
            assert ledger.usage_in(budget(), window("rolling_24h", now_us)) == expected()


def placed(now_us: int = START, ttl_seconds: int = 60, number: int = 2) -> Reservation:
    """A reservation of 10."""
    return place(
        decision_id=id_of("dec", bytes(15) + bytes((number,))),
        identity_id="root",
        currency="CAD",
        asked={"amount": 10},
        claims=(),
        now_us=now_us,
        ttl_seconds=ttl_seconds,
    ).reservation


def test_a_reservation_comes_back_as_it_was(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).ledger.keep(placed())
        with reading(environment) as txn:
            assert txn.of(a_tenant(1)).ledger.reservation(DECISION_ID) == placed()
            assert txn.of(a_tenant(2)).ledger.reservation(DECISION_ID) is None


def test_what_is_due_is_what_is_held_and_past_its_time_the_earliest_first(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant(2)).ledger.keep(placed(ttl_seconds=61, number=3))
            txn.of(a_tenant(1)).ledger.keep(placed(ttl_seconds=60, number=2))
            txn.of(a_tenant(1)).ledger.keep(placed(ttl_seconds=62, number=4))
        with reading(environment) as txn:
            assert txn.due(START + 60 * SECOND - 1, 10) == []
            due = [Due(1, DECISION_ID), Due(2, id_of("dec", bytes(15) + b"\x03"))]
            assert txn.due(START + 61 * SECOND, 10) == due
            assert txn.due(START + 99 * SECOND, 1) == due[:1]


@pytest.mark.parametrize("ending", ["settle", "release", "expire"])
def test_what_has_ended_will_not_expire(tmp_path: Path, ending: str) -> None:
    held = placed()
    ended = {
        "settle": lambda: settle(held, None, final=True),
        "release": lambda: release(held),
        "expire": lambda: expire(held, held.expires_at_us),
    }[ending]().reservation
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).ledger.keep(held)
        with writing(environment) as txn:
            txn.of(a_tenant()).ledger.keep(ended)
        with reading(environment) as txn:
            assert txn.due(START * 2, 10) == []
        assert rows(environment, "expiry") == []


def test_an_id_that_is_none_of_ours_cannot_come_from_our_own_store(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, reading(environment) as txn:
        ledger = txn.of(a_tenant()).ledger
        with pytest.raises(StoreUnusable, match="`x` is no id of kind `dec`"):
            ledger.reservation("x")
        with pytest.raises(StoreUnusable, match="`x` is no id of kind `bud`"):
            ledger.usage_in(budget(budget_id="x"), window("daily", START))


def test_rows_of_a_budget_begin_with_its_tenant_and_its_id(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant(5)).ledger.grant(posting("rolling_24h", START, held=1), budget())
            prefix = U32.pack(5) + Ledger(txn._txn, environment.tables, 5, {}).budget_key(BUDGET_ID)  # noqa: SLF001
        for table in ("counters", "rolling"):
            assert all(key.startswith(prefix) for key, _ in rows(environment, table))
