"""What waits to be delivered: in lanes, by the time it is due, until it is resolved or its lane is dropped."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sidecar.core.errors import StoreUnusable
from sidecar.core.ids import id_of
from sidecar.core.webhooks import Lane, Waiting
from sidecar.service.event_store import Ready
from tests.state.builders import a_tenant, reading, rows, store_in, writing

TABLES = ("outbox", "outbox_due", "outbox_ready", "outbox_lanes", "outbox_dropped")
BUDGET = id_of("bud", bytes(16))


def an_event(number: int, due_at_us: int = 100) -> Waiting:
    """A row; its id sorts by ``number``."""
    ulid = number.to_bytes(16)
    return Waiting(event_id=id_of("evt", ulid), type="webhook.test", body=b"{}", created_at_us=0, due_at_us=due_at_us)


def test_numbers_and_event_ids_are_given_once_and_ascend(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        given, ids = [], []
        for now_us in (5_000, 4_000, 9_000):
            with writing(environment) as txn:
                outbox = txn.of(a_tenant()).outbox
                given.append(outbox.next_number())
                ids += [outbox.next_event_id(now_us), outbox.next_event_id(now_us)]
        assert given == [1, 2, 3]
        assert ids == sorted(set(ids))
        assert all(each.startswith("evt_") for each in ids)
        with writing(environment) as txn:
            assert txn.of(a_tenant(2)).outbox.next_number() == 1


def test_what_is_due_comes_in_order_and_nothing_before_its_time(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            outbox.open(7, 1)
            outbox.open(8, 2)
            for waiting in (an_event(3, 50), an_event(1, 100), an_event(2, 100), an_event(4, 101)):
                outbox.add(7, waiting)
            outbox.add(8, an_event(9, 10))
        with reading(environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            assert outbox.due(7, 100, 9) == [an_event(3, 50), an_event(1), an_event(2)]
            assert outbox.due(7, 100, 2) == [an_event(3, 50), an_event(1)]
            assert outbox.due(7, 49, 9) == []
            assert outbox.due(8, 100, 9) == [an_event(9, 10)]
            assert outbox.lane(7) == Lane(number=1, waiting=4, next_due_us=50)
            assert outbox.find(7, an_event(4).event_id) == an_event(4, 101)
            assert outbox.find(8, an_event(4).event_id) is None
            assert txn.ready_lanes(100, 9) == [Ready(1, 8), Ready(1, 7)]
            assert txn.ready_lanes(100, 1) == [Ready(1, 8)]
            assert txn.ready_lanes(49, 9) == [Ready(1, 8)]
            assert txn.ready_lanes(9, 9) == []


def test_what_was_tried_waits_on_or_is_gone(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            outbox.open(7, 1)
            outbox.add(7, an_event(1, 10))
            later = msgspec.structs.replace(an_event(1, 500), attempts=1)
            outbox.resolve(7, an_event(1, 10), later, 20)
            assert outbox.lane(7) == Lane(number=1, waiting=1, next_due_us=500, failing_since_us=20)
            assert outbox.due(7, 500, 9) == [later]
            outbox.resolve(7, later, None, None)
            assert outbox.lane(7) == Lane(number=1)
        assert [rows(environment, table) for table in TABLES[:3]] == [[], [], []]


def test_a_dropped_lane_is_not_served_and_swept_in_pieces(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            for lane in (7, 8, 9):
                outbox.open(lane, 1)
            for number in range(5):
                outbox.add(7, an_event(number))
                outbox.add(8, an_event(number))
            outbox.drop(7)
            outbox.drop(9)  # nothing waits there, so there is nothing to sweep
            assert outbox.lane(7) is None
            assert txn.ready_lanes(100, 9) == [Ready(1, 8)]
        swept: list[int] = []
        while not swept or swept[-1]:
            with writing(environment) as txn:
                swept.append(txn.sweep_lanes(4))
        assert swept == [4, 4, 2, 0]
        assert len(rows(environment, "outbox")) == 5
        assert rows(environment, "outbox_dropped") == []


def test_a_lane_or_row_that_is_missing_breaks_the_store(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        outbox = txn.of(a_tenant()).outbox
        with pytest.raises(StoreUnusable, match="lane 7 of tenant `t_1` does not exist"):
            outbox.add(7, an_event(1))
        with pytest.raises(StoreUnusable, match="`x` is no id of an event"):
            outbox.find(7, "x")


def test_a_row_that_is_due_and_missing_breaks_the_store(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.of(a_tenant()).outbox.open(7, 1)
            txn.of(a_tenant()).outbox.add(7, an_event(1))
        raw = environment.begin_write()
        raw.drop(environment.tables["outbox"], delete=False)
        raw.commit()
        with reading(environment) as txn, pytest.raises(StoreUnusable, match="is due and does not exist"):
            txn.of(a_tenant()).outbox.due(7, 100, 1)


def test_an_approach_is_marked_once_a_window(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment, writing(environment) as txn:
        outbox = txn.of(a_tenant()).outbox
        assert outbox.mark_approach(BUDGET, 100, None)
        assert not outbox.mark_approach(BUDGET, 100, None)
        assert outbox.mark_approach(BUDGET, 200, None)
        assert not outbox.mark_approach(BUDGET, 100, None)
        assert txn.of(a_tenant(2)).outbox.mark_approach(BUDGET, 100, None)
        rolling = id_of("bud", bytes(15) + b"\x01")
        assert outbox.mark_approach(rolling, 100, 50)
        assert not outbox.mark_approach(rolling, 149, 50)
        assert outbox.mark_approach(rolling, 150, 50)


def test_a_mark_goes_with_its_budget_and_is_shared_with_no_other(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            assert outbox.mark_approach(BUDGET, 100, None)
            for call in (lambda: outbox.mark_approach("x", 100, None), lambda: outbox.forget_approach("x")):
                with pytest.raises(StoreUnusable, match="`x` is no id of a budget"):
                    call()
            outbox.forget_approach(BUDGET)
            outbox.forget_approach(BUDGET)
        assert rows(environment, "budget_marks") == []


class Row(NamedTuple):
    """What the model knows of one event."""

    due_us: int
    number: int


class Model(RuleBasedStateMachine):
    """The outbox of a tenant, compared with lists."""

    def __init__(self) -> None:
        """Begin with an empty store."""
        super().__init__()
        self._folder = TemporaryDirectory()
        self._context = store_in(Path(self._folder.name))
        self._environment = self._context.__enter__()
        self._lanes: dict[int, list[Row]] = {}
        self._made = 0

    def teardown(self) -> None:
        """Close it."""
        self._context.__exit__(None, None, None)
        self._folder.cleanup()

    @rule()
    def open(self) -> None:
        """Begin a lane."""
        self._made += 1
        with writing(self._environment) as txn:
            txn.of(a_tenant()).outbox.open(self._made, 1)
        self._lanes[self._made] = []

    @precondition(lambda self: self._lanes)
    @rule(due_us=st.integers(0, 20), data=st.data())
    def add(self, due_us: int, data: st.DataObject) -> None:
        """Add an event."""
        lane = data.draw(st.sampled_from(sorted(self._lanes)))
        self._made += 1
        with writing(self._environment) as txn:
            txn.of(a_tenant()).outbox.add(lane, an_event(self._made, due_us))
        self._lanes[lane].append(Row(due_us, self._made))

    @precondition(lambda self: any(self._lanes.values()))
    @rule(later=st.none() | st.integers(0, 20), data=st.data())
    def resolve(self, later: int | None, data: st.DataObject) -> None:
        """End an event or let it wait on."""
        lane = data.draw(st.sampled_from(sorted(lane for lane, waiting in self._lanes.items() if waiting)))
        row = data.draw(st.sampled_from(self._lanes[lane]))
        kept = None if later is None else an_event(row.number, later)
        with writing(self._environment) as txn:
            txn.of(a_tenant()).outbox.resolve(lane, an_event(row.number, row.due_us), kept, None)
        self._lanes[lane].remove(row)
        if later is not None:
            self._lanes[lane].append(Row(later, row.number))

    @precondition(lambda self: self._lanes)
    @rule(data=st.data(), most=st.integers(1, 5))
    def drop(self, data: st.DataObject, most: int) -> None:
        """Drop a lane and sweep a little."""
        lane = data.draw(st.sampled_from(sorted(self._lanes)))
        del self._lanes[lane]
        with writing(self._environment) as txn:
            txn.of(a_tenant()).outbox.drop(lane)
            txn.sweep_lanes(most)

    @invariant()
    def agrees(self) -> None:
        """Every list is the one that the model says."""
        with reading(self._environment) as txn:
            outbox = txn.of(a_tenant()).outbox
            for lane, waiting in self._lanes.items():
                expected = [an_event(row.number, row.due_us) for row in sorted(waiting) if row.due_us <= 10]
                assert outbox.due(lane, 10, 100) == expected
                earliest = min((row.due_us for row in waiting), default=None)
                assert outbox.lane(lane) == Lane(number=1, waiting=len(waiting), next_due_us=earliest)
            ready = sorted((min(waiting).due_us, lane) for lane, waiting in self._lanes.items() if waiting)
            assert txn.ready_lanes(10, 100) == [Ready(1, lane) for due_us, lane in ready if due_us <= 10]


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=20, stateful_step_count=30, deadline=None)
