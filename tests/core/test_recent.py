"""What was used lately stays, within the bound; a key finds its own value or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.recent import Recent


def test_nothing_is_found_that_was_not_kept() -> None:
    kept = Recent[str, int](4)
    assert kept.get("a") is None
    kept.keep("a", 1)
    assert (kept.get("a"), kept.get("b"), len(kept)) == (1, None, 1)


def test_a_value_takes_the_place_of_another_one_with_its_key() -> None:
    kept = Recent[str, int](4)
    for number in range(9):
        kept.keep("a", number)
        assert kept.get("a") == number
    assert len(kept) == 1


@pytest.mark.parametrize("weight", [1, 3])
def test_a_value_that_is_replaced_again_and_again_ages_no_other(weight: int) -> None:
    kept = Recent[str, int](20, lambda weight: weight)
    kept.keep("a", 1)
    for _ in range(100):
        kept.keep("b", weight)
    assert (kept.get("a"), kept.get("b"), len(kept)) == (1, weight, 2)


def test_what_is_replaced_weighs_what_it_weighs_now() -> None:
    """Each of the first two fills a generation by itself, so that the third one is the end of the first."""
    kept = Recent[str, int](20, lambda weight: weight)
    kept.keep("a", 1)
    kept.keep("a", 10)
    kept.keep("b", 10)
    kept.keep("c", 1)
    assert (kept.get("a"), len(kept)) == (None, 2)


def test_what_nobody_asks_for_is_forgotten_and_what_is_asked_for_stays() -> None:
    kept = Recent[int, int](10)
    for number in range(100):
        kept.keep(number, number)
        assert kept.get(0) == 0
    assert kept.get(50) is None


@given(st.lists(st.integers(0, 30)), st.integers(2, 12))
def test_no_more_is_kept_than_the_bound_and_never_a_wrong_value(keys: list[int], most: int) -> None:
    kept = Recent[int, str](most)
    for key in keys:
        assert kept.get(key) in {None, str(key)}
        kept.keep(key, str(key))
        assert kept.get(key) == str(key)
        assert len(kept) <= most + 1


@pytest.mark.parametrize("weight", [5, 1_000])
def test_heavy_values_push_out_more_and_the_newest_is_kept_whatever_it_weighs(weight: int) -> None:
    kept = Recent[int, int](10, lambda weight: weight)
    for number in range(4):
        kept.keep(number, weight)
        assert kept.get(number) == weight
    assert len(kept) <= 2
