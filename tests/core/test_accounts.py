"""Double entry: what a movement is, and what a balance takes."""

import pytest

from sidecar.core.accounts import (
    BALANCE_MINOR_MAX,
    Balance,
    Leg,
    asset_of,
    booked,
    external,
    is_own,
    may_be_negative,
    move,
    transit,
)
from sidecar.core.errors import Conflict

OUTSIDE = external("internal", "USDC")
ON_THE_WAY = transit("eip155:8453", "USDC")
ACCOUNT = "acct_01K9Z3J4M5N6P7Q8R9S0T1V2W3"


def test_a_movement_takes_from_one_account_what_it_gives_to_another() -> None:
    legs = move("a", "b", 7)
    assert legs == (Leg("a", -7), Leg("b", 7))


def test_the_sidecars_own_accounts_are_named_after_network_and_asset() -> None:
    assert [asset_of(name) for name in (OUTSIDE, ON_THE_WAY)] == ["USDC", "USDC"]
    assert [is_own(name) for name in (OUTSIDE, ON_THE_WAY, ACCOUNT)] == [True, True, False]
    assert len({OUTSIDE, ON_THE_WAY, external("internal", "SOL"), external("solana", "USDC")}) == 4


def test_only_the_world_outside_may_be_negative() -> None:
    assert [may_be_negative(name) for name in (OUTSIDE, ON_THE_WAY, ACCOUNT)] == [True, False, False]
    assert booked(Leg(OUTSIDE, -7), Balance()) == Balance(-7)
    for name in (ON_THE_WAY, ACCOUNT):
        assert booked(Leg(name, -7), Balance(7, 1)) == Balance(0, 1)
        with pytest.raises(Conflict, match="holds too little"):
            booked(Leg(name, -8), Balance(7))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_balance_ends_where_counting_does(sign: int) -> None:
    full = Balance(sign * (BALANCE_MINOR_MAX - 1))
    assert booked(Leg(OUTSIDE, sign), full).minor == sign * BALANCE_MINOR_MAX
    with pytest.raises(Conflict, match="as much as can be counted"):
        booked(Leg(OUTSIDE, sign * 2), full)
