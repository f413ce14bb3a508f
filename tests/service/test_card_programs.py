"""Card programs: who may have them, how many, and that their secrets stay secrets."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest

from sidecar.core.access import Caller
from sidecar.core.card_events import Network
from sidecar.core.card_programs import NETWORK_PROGRAMS_MAX, TENANT_PROGRAMS_MAX, open_secrets
from sidecar.core.errors import Conflict, Forbidden, NotFound, ValidationFailed
from sidecar.core.idempotency import idempotency_key
from sidecar.service import card_programs
from sidecar.service.card_programs import ProgramDesk, ProgramDraft, ShownProgram
from sidecar.service.paging import PageRequest
from tests.service.builders import OPERATOR, World

SECRET = "whsec_0123456789"


@pytest.fixture
def desk(world: World) -> ProgramDesk:
    """The card programs of a world with one tenant."""
    world.tenant()
    return ProgramDesk(world.store, world.ids)


def made(world: World, desk: ProgramDesk, secret: str = SECRET, network: Network = "stripe") -> ShownProgram:
    """Make a program."""
    draft = ProgramDraft(network, "ours", secret)
    return world.run(desk.create(OPERATOR, "t_one", draft, world.now_us)).value


def heard(desk: ProgramDesk, network: Network, now_us: int, program_id: str | None = None) -> list[tuple[str, ...]]:
    """The secrets by which messages are known."""
    return [open_secrets(each.program, now_us) for each in desk.hear(network, program_id)]


def test_a_program_is_made_and_its_messages_are_known_by_its_secret(world: World, desk: ProgramDesk) -> None:
    program = made(world, desk)
    assert program == ShownProgram(
        program_id=program.program_id,
        tenant_id="t_one",
        network="stripe",
        name="ours",
        created_at_us=world.now_us,
        rotated_at_us=None,
        former_until_us=None,
        revision=1,
    )
    assert program.program_id.startswith("cprg_")
    assert desk.get(OPERATOR, "t_one", program.program_id, world.now_us) == program
    assert heard(desk, "stripe", world.now_us) == [(SECRET,)]
    assert heard(desk, "stripe", world.now_us, program.program_id) == [(SECRET,)]
    assert [each.tenant_id for each in desk.hear("stripe", None)] == ["t_one"]
    assert heard(desk, "lithic", world.now_us) == []
    assert heard(desk, "lithic", world.now_us, program.program_id) == []
    assert heard(desk, "stripe", world.now_us, "cprg_other") == []
    body = {"type": "card_program_created", "card_program": program.program_id, "network": "stripe", "name": "ours"}
    assert (body | {"by": "operator"}).items() <= world.bodies()[-1].items()


def test_a_rotated_secret_is_known_beside_the_new_one_for_its_grace_time(world: World, desk: ProgramDesk) -> None:
    program = made(world, desk)
    turned = world.run(desk.rotate(OPERATOR, "t_one", program.program_id, "whsec_second_1", 60, world.now_us)).value
    until_us = world.now_us + 60_000_000
    assert (turned.rotated_at_us, turned.former_until_us, turned.revision) == (world.now_us, until_us, 2)
    assert heard(desk, "stripe", world.now_us) == [("whsec_second_1", SECRET)]
    assert heard(desk, "stripe", until_us) == [("whsec_second_1",)]
    assert desk.get(OPERATOR, "t_one", program.program_id, until_us).former_until_us is None
    body = {"type": "card_program_rotated", "card_program": program.program_id, "grace_seconds": 60}
    assert body.items() <= world.bodies()[-1].items()
    assert "whsec" not in repr(world.bodies())
    back = world.run(desk.rotate(OPERATOR, "t_one", program.program_id, SECRET, 0, world.now_us)).value
    assert (back.former_until_us, back.revision) == (None, 3)
    assert heard(desk, "stripe", world.now_us) == [(SECRET,)]


def test_a_deleted_program_is_gone_with_its_secrets(world: World, desk: ProgramDesk) -> None:
    program = made(world, desk)
    world.run(desk.delete(OPERATOR, "t_one", program.program_id, world.now_us))
    assert heard(desk, "stripe", world.now_us) == []
    assert world.bodies()[-1]["type"] == "card_program_deleted"
    with pytest.raises(NotFound):
        desk.get(OPERATOR, "t_one", program.program_id, world.now_us)
    made(world, desk)


def test_two_programs_of_a_network_have_two_secrets(world: World, desk: ProgramDesk) -> None:
    """Or a message would be of both; neither may have a secret that the other was given up to a rotation."""
    program = made(world, desk, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made(world, desk, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "lithic")
    other = made(world, desk, "whsec_other_one")
    for secret in ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_other_one"):
        with pytest.raises(Conflict, match="has this secret already") as caught:
            made(world, desk, secret)
        assert caught.value.field == "secret"
        with pytest.raises(Conflict):
            world.run(desk.rotate(OPERATOR, "t_one", other.program_id, secret, 60, world.now_us))
    world.run(desk.rotate(OPERATOR, "t_one", program.program_id, "whsec_the_new_one", 60, world.now_us))
    with pytest.raises(Conflict):
        made(world, desk, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_a_text_that_is_no_secret_of_the_network_is_refused(world: World, desk: ProgramDesk) -> None:
    program, records = made(world, desk), len(world.bodies())
    with pytest.raises(ValidationFailed):
        made(world, desk, "none")
    with pytest.raises(ValidationFailed):
        world.run(desk.rotate(OPERATOR, "t_one", program.program_id, "none", 60, world.now_us))
    assert len(world.bodies()) == records


def test_a_tenant_has_so_many_programs_at_most(world: World, desk: ProgramDesk) -> None:
    for number in range(TENANT_PROGRAMS_MAX):
        made(world, desk, f"whsec_secret_{number:02}")
    with pytest.raises(Conflict, match=f"the tenant has {TENANT_PROGRAMS_MAX}"):
        made(world, desk)


def test_a_network_has_so_many_programs_at_most(
    world: World, desk: ProgramDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert NETWORK_PROGRAMS_MAX > TENANT_PROGRAMS_MAX
    monkeypatch.setattr(card_programs, "NETWORK_PROGRAMS_MAX", 1)
    made(world, desk)
    with pytest.raises(Conflict, match="the server has 1"):
        made(world, desk, "whsec_another_one")
    made(world, desk, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "lithic")


def test_a_list_has_pages_in_order_of_creation(world: World, desk: ProgramDesk) -> None:
    programs = tuple(made(world, desk, f"whsec_secret_{number}") for number in range(3))
    first = desk.listed(OPERATOR, "t_one", PageRequest(limit=2), world.now_us)
    assert first.values == programs[:2]
    assert first.next_after is not None
    second = desk.listed(OPERATOR, "t_one", PageRequest(first.next_after, 2), world.now_us)
    assert (second.values, second.next_after) == (programs[2:], None)


def calls(world: World, desk: ProgramDesk, caller: Caller, tenant: str | None, one: str) -> list[Callable[[], object]]:
    """Every call of the desk about one program."""
    now_us = world.now_us
    return [
        lambda: desk.get(caller, tenant, one, now_us),
        lambda: world.run(desk.rotate(caller, tenant, one, "whsec_second_1", 0, now_us)),
        lambda: world.run(desk.delete(caller, tenant, one, now_us)),
    ]


def test_a_program_is_unknown_to_another_tenant(world: World, desk: ProgramDesk) -> None:
    program = made(world, desk)
    world.tenant("t_two")
    for call in calls(world, desk, OPERATOR, "t_two", program.program_id):
        with pytest.raises(NotFound):
            call()
    assert desk.listed(OPERATOR, "t_two", PageRequest(), world.now_us).values == ()


def test_only_administrators_may_do_anything(world: World, desk: ProgramDesk) -> None:
    program = made(world, desk)
    draft = ProgramDraft("stripe", "theirs", "whsec_theirs_12")
    kinds: tuple[Literal["agent", "follower"], ...] = ("agent", "follower")
    for caller in map(Caller, kinds):
        some = calls(world, desk, caller, "t_one", program.program_id)
        some += [
            partial(lambda who: world.run(desk.create(who, "t_one", draft, world.now_us)), caller),
            partial(desk.listed, caller, "t_one", PageRequest(), world.now_us),
        ]
        for call in some:
            with pytest.raises(Forbidden):
                call()


def test_a_repeated_call_is_answered_as_before_and_stores_no_secret(world: World, desk: ProgramDesk) -> None:
    draft = ProgramDraft("stripe", "ours", SECRET)
    key = idempotency_key("operator", "create", "k", b"same")
    first = world.run(desk.create(OPERATOR, "t_one", draft, world.now_us, key))
    again = world.run(desk.create(OPERATOR, "t_one", draft, world.now_us, key))
    assert (again.value, again.replayed) == (first.value, True)
    key = idempotency_key("operator", "rotate", "k", b"same")
    one = first.value.program_id
    turned = [world.run(desk.rotate(OPERATOR, "t_one", one, "whsec_second_1", 60, world.now_us, key)) for _ in range(2)]
    assert [each.replayed for each in turned] == [False, True]
    assert turned[0].value == turned[1].value
    assert "secret" not in repr(turned[1].value).replace("former_secret", "")
