"""Every tenant that was there is told of a load: once, some in each transaction, wherever telling was interrupted."""

from pathlib import Path

import pytest

from sidecar.core.snapshot import PolicyFiles
from sidecar.service import announcement
from sidecar.service.announcement import Announcer
from sidecar.service.policy_store import PoliciesLoaded
from tests.service.builders import World, only_schemas, payment, shipped_files
from tests.service.mailroom import Mailroom

TENANTS = ("t_one", "t_two", "t_three")


OTHERS = only_schemas('@id("x") permit (principal, action, resource);')


def load(world: World, files: PolicyFiles | None = None) -> bytes:
    """Load files, those that hold unless told; returns what stands for them."""
    loaded = shipped_files() if files is None else files
    if files is not None:
        world.load(files)
    world.write(lambda txn: txn.keep_policies_loaded(PoliciesLoaded(loaded.digest(), 1, "watch", world.now_us)))
    return loaded.digest()


def told(world: World) -> dict[str, int]:
    """How often each log tells of a load."""
    return {tenant: world.kinds(tenant).count("policies_loaded") for tenant in TENANTS}


@pytest.fixture
def announcer(world: World, monkeypatch: pytest.MonkeyPatch) -> Announcer:
    """Tells two tenants at a time, of three."""
    monkeypatch.setattr(announcement, "TENANTS_AT_ONCE", 2)
    for tenant in TENANTS:
        world.tenant(tenant)
    return Announcer(world.store)


def test_nothing_is_told_where_nothing_was_loaded(world: World, announcer: Announcer) -> None:
    assert not world.run(announcer.announce_some(world.now_us))
    assert set(told(world).values()) == {0}


def test_all_are_told_some_at_a_time_and_once(world: World, announcer: Announcer) -> None:
    """Also by one that goes on where another was ended."""
    load(world)
    assert world.run(announcer.announce_some(world.now_us))
    assert told(world) == {"t_one": 1, "t_two": 1, "t_three": 0}
    for _ in range(2):
        assert not world.run(Announcer(world.store).announce_some(world.now_us))
    assert told(world) == {"t_one": 1, "t_two": 1, "t_three": 1}


def test_two_that_tell_at_the_same_time_tell_once(world: World, announcer: Announcer) -> None:
    load(world)
    while any(world.together(*(announcer.announce_some(world.now_us) for _ in range(3)))):
        pass
    assert set(told(world).values()) == {1}


def test_a_tenant_that_decided_first_has_one_record_and_still_its_event(world: World, announcer: Announcer) -> None:
    mail = Mailroom(world)
    hook = mail.hook("policy.changed")
    digest = load(world)
    world.authorize(payment())
    assert world.kinds()[-2:] == ["policies_loaded", "decision"]
    world.run(announcer.announce_some(world.now_us))
    assert told(world)["t_one"] == 1
    assert [data["digest"] for _, data in mail.told(hook)] == [digest.hex()]


def test_a_tenant_of_later_is_told_nothing(world: World, announcer: Announcer) -> None:
    load(world)
    world.tenant("t_late")
    while world.run(announcer.announce_some(world.now_us)):
        pass
    assert "policies_loaded" not in world.kinds("t_late")


def test_files_that_are_loaded_meanwhile_are_told_to_all(world: World, announcer: Announcer) -> None:
    load(world)
    world.run(announcer.announce_some(world.now_us))
    digest = load(world, OTHERS)
    while world.run(announcer.announce_some(world.now_us)):
        pass
    assert told(world) == {"t_one": 2, "t_two": 2, "t_three": 1}
    newest = [body for body in world.bodies("t_three") if body["type"] == "policies_loaded"][-1]
    assert newest["digest"] == f"sha256:{digest.hex()}"


def test_as_many_tenants_as_fit_into_one_round_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcement, "TENANTS_AT_ONCE", 1)
    with World(tmp_path) as world:
        world.tenant("t_one")
        load(world)
        announcer = Announcer(world.store)
        assert world.run(announcer.announce_some(world.now_us))
        assert not world.run(announcer.announce_some(world.now_us))
