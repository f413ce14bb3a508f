"""Card programs in the store: found by id, listed in order, their replaced secrets forgotten, and checked."""

from pathlib import Path

import msgspec
import pytest

from sidecar.core.card_events import CardProgram
from sidecar.service.card_program_store import Enrolled
from sidecar.state.card_programs_check import check_card_programs
from sidecar.state.codec import encode
from sidecar.state.environment import Environment
from tests.state.builders import reading, store_in, writing


def enrolled(number: int, tenant: int = 1, **changes: object) -> Enrolled:
    """A program; of greater numbers the ids come first, as of two that were made in one millisecond."""
    program = CardProgram(
        program_id=f"cprg_{9 - number}",
        network="stripe",
        name="ours",
        secret=f"whsec_{number}",
        created_at_us=1,
        revision=1,
    )
    return Enrolled(tenant, number, msgspec.structs.replace(program, **changes))


def test_a_program_is_found_by_its_id_until_it_is_forgotten(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            for number in (1, 2, 3):
                txn.card_programs.keep(enrolled(number, tenant=number))
        with reading(environment) as txn:
            assert txn.card_programs.find("cprg_7") == enrolled(2, tenant=2)
            assert txn.card_programs.find("cprg_0") is None
            assert txn.card_programs.find("") is None
            assert txn.card_programs.find("x" * 500) is None
            assert [each.place for each in txn.card_programs.all()] == [1, 2, 3]
        with writing(environment) as txn:
            txn.card_programs.forget("cprg_7")
        with reading(environment) as txn:
            assert txn.card_programs.find("cprg_7") is None
            assert [each.place for each in txn.card_programs.all()] == [1, 3]


def test_replaced_secrets_are_forgotten_when_their_time_is_over_some_at_once(tmp_path: Path) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.card_programs.keep(enrolled(1))
            for number in (2, 3, 4):
                txn.card_programs.keep(enrolled(number, former_secret="whsec_old", former_until_us=number))
        with writing(environment) as txn:
            assert txn.prune_former_secrets(1, 10) == 0
            assert txn.prune_former_secrets(3, 1) == 1
            assert txn.prune_former_secrets(3, 10) == 1
            assert txn.prune_former_secrets(3, 10) == 0
        with reading(environment) as txn:
            left = [each.program.former_secret for each in txn.card_programs.all()]
            assert left == [None, None, None, "whsec_old"]


def faults(environment: Environment) -> list[str]:
    """What the check says where tenant 1 is the only one."""
    with environment.read() as txn:
        return list(check_card_programs(txn, environment.tables, {1}))


@pytest.mark.parametrize(
    ("key", "row", "fault"),
    [
        (b"cprg_x", enrolled(2), "card program `cprg_7` lies under another id"),
        (b"cprg_7", enrolled(2, tenant=2), "card program `cprg_7` belongs to tenant 2, which does not exist"),
        (b"cprg_7", enrolled(2)._replace(place=1), "card program `cprg_8` has the place of another one"),
        (
            b"cprg_7",
            enrolled(2, former_secret="whsec_old"),
            "the former secret of card program `cprg_7` has no end, or an end without it",
        ),
        (
            b"cprg_7",
            enrolled(2, former_until_us=5),
            "the former secret of card program `cprg_7` has no end, or an end without it",
        ),
    ],
)
def test_what_does_not_hold_is_named_and_no_secret_is(tmp_path: Path, key: bytes, row: Enrolled, fault: str) -> None:
    with store_in(tmp_path) as environment:
        with writing(environment) as txn:
            txn.card_programs.keep(enrolled(1))
            txn.card_programs.keep(enrolled(3, former_secret="whsec_old", former_until_us=5))
        assert faults(environment) == []
        parent = environment.begin_write()
        parent.put(key, encode(row), db=environment.tables["card_programs"])
        parent.commit()
        assert [sentence for sentence in faults(environment) if "whsec" not in sentence] == [fault]
