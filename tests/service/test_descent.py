"""Going down a subtree: everybody once, each with its own chain, however the pages fall, and nobody waits for it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.directory import Identity, walk
from sidecar.service import descent
from sidecar.service.descent import descend, everybody, paged
from sidecar.service.store import TenantTransaction
from tests.service.builders import World


def grow(world: World, parents: list[int]) -> None:
    """Make the root and an identity below the n-th one before it for each of ``parents``."""
    names = ["root"]
    for number, parent in enumerate(parents, start=1):
        names.append(f"i{number}")
        world.identity(names[-1], names[parent % number])


def met(
    world: World, top: str, wanted: Callable[[TenantTransaction, Identity], bool] = everybody
) -> list[tuple[Identity, ...]]:
    """The chains that are met on the way down from ``top``."""

    async def gathered() -> list[tuple[Identity, ...]]:
        with world.store.read() as txn:
            tenant = txn.tenants.find("t_one")
            chain = () if tenant is None else walk(top, txn.of(tenant).identities.get)
        return [chain async for chain in descend(world.store, "t_one", chain, wanted)]

    return world.run(gathered())


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 12), st.integers(1, 4))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_everybody_below_is_met_once_with_the_own_chain(parents: list[int], top: int, page: int) -> None:
    with TemporaryDirectory() as folder, World(Path(folder)) as world, pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "PAGE", page)
        world.tenant()
        grow(world, parents)
        top_id = f"i{top}" if 0 < top <= len(parents) else "root"
        with world.look() as part:
            chains = [walk(each.value.identity_id, part.identities.get) for each in part.identities.all()]
        expected = [chain for chain in chains if top_id in {identity.identity_id for identity in chain}]
        found = met(world, top_id)
        assert len(found) == len(expected)
        assert set(map(str, found)) == set(map(str, expected))
        assert found[0][0].identity_id == top_id
        some = met(world, top_id, lambda _, identity: identity.identity_id == "i2")
        assert some == [chain for chain in expected if chain[0].identity_id == "i2"]


def test_others_have_their_turn_after_each_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "PAGE", 2)
    turns = 0

    async def both(world: World) -> int:
        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        with world.store.read() as txn:
            tenant = txn.tenants.find("t_one")
            chain = () if tenant is None else walk("root", txn.of(tenant).identities.get)
        found = [chain async for chain in descend(world.store, "t_one", chain)]
        task.cancel()
        return len(found)

    with World(tmp_path) as world:
        world.tenant()
        grow(world, [0] * 9)
        assert world.run(both(world)) == 10
    assert turns >= 5


def test_of_a_tenant_that_does_not_exist_there_is_nothing(tmp_path: Path) -> None:
    async def everything(world: World) -> list[Identity]:
        return [
            each async for each in paged(world.store, "t_nobody", lambda part, after: part.identities.all(after=after))
        ]

    with World(tmp_path) as world:
        assert world.run(everything(world)) == []
