"""Cells of numbers: found again by their names, also by another process, and never what ends the one that counts."""

from pathlib import Path

import pytest

from sidecar.app.cells import CELL_BYTES, CELLS_MAX, FILE_BYTES, Cells, Timer, read_cells

VALUE_BYTES = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file without a cell."""
    path = tmp_path / "0.cells"
    path.write_bytes(bytes(FILE_BYTES))
    return path


def test_a_cell_is_found_again_by_its_names() -> None:
    cells = Cells()
    cells.values[cells.place("a", "b")] += 2
    cells.values[cells.place("a", "c")] += 0.5
    cells.values[cells.place("a", "b")] += 1
    assert cells.shown() == {("a", "b"): 3, ("a", "c"): 0.5}


def test_another_process_reads_what_was_counted_so_far(path: Path) -> None:
    cells = Cells(path)
    place = cells.place("a", "GET", "/v1/things/{thing_id}")
    cells.values[place] += 1
    assert read_cells(path) == {("a", "GET", "/v1/things/{thing_id}"): 1}
    cells.values[place] += 1
    assert read_cells(path) == cells.shown() == {("a", "GET", "/v1/things/{thing_id}"): 2}


def test_a_successor_counts_on_in_the_cells_of_its_predecessor(path: Path) -> None:
    """Whatever order it asks for them in."""
    first = Cells(path)
    for name in ("a", "b"):
        first.values[first.place(name)] += 1
    second = Cells(path)
    for name in ("c", "b", "a"):
        second.values[second.place(name)] += 1
    assert read_cells(path) == {("a",): 2, ("b",): 2, ("c",): 1}


def test_what_fits_no_cell_is_counted_nowhere() -> None:
    """A name that is too long, and whatever comes after the last cell."""
    cells = Cells()
    cells.values[cells.place("x" * CELL_BYTES)] += 1
    assert cells.shown() == {}
    for number in range(CELLS_MAX + 5):
        cells.values[cells.place(str(number))] += 1
    assert cells.shown() == {(str(number),): 1 for number in range(CELLS_MAX - 1)}


def test_a_number_counts_in_the_first_bucket_that_reaches_it() -> None:
    cells = Cells()
    timer = Timer(cells, ("a",), (0.5, 1))
    for number in (0, 0.5, 0.6, 1, 7):
        timer.observe(number)
    assert cells.shown() == {("a", "0.5"): 2, ("a", "1.0"): 2, ("a", "+Inf"): 1, ("a", "sum"): 9.1}


def test_a_name_that_was_cut_off_by_a_kill_leaves_nothing_behind(path: Path) -> None:
    """Its first byte comes last, so it is no cell yet; the successor's name in its place may be shorter."""
    tail = b"idecar_http_requests_total\tGET\t/v1/identities/{identity_id}\t200"
    with path.open("r+b") as file:
        file.seek(VALUE_BYTES + 1)
        file.write(tail)
    successor = Cells(path)
    successor.values[successor.place("sidecar_idempotent_replays_total")] += 1
    assert read_cells(path) == {("sidecar_idempotent_replays_total",): 1.0}
