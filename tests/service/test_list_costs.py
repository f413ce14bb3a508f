"""A page costs what it shows: what is read for it does not grow with the table, and a filter without an index stops.

Counted in reads of the store, so nothing here depends on how fast the machine is.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Self

import msgspec
import pytest

from sidecar.core.access import Caller
from sidecar.core.snapshot import PolicyRecord
from sidecar.service import paging
from sidecar.service.audit import AuditFilter
from sidecar.service.budgets import BudgetFilter
from sidecar.service.paging import PageRequest
from sidecar.service.roster import Roster
from sidecar.service.store import Transaction
from sidecar.service.subtrees import IdentityFilter
from tests.service.builders import OPERATOR, SECOND, World, limit

SMALL, LARGE = 100, 20_000
PAGE = 10
BELOW_ANN = 15
CHUNK = 500
"""Made in one transaction, well within the time that a write may take."""


class Reads:
    """Counts what is read of the store: look-ups and steps of cursors."""

    def __init__(self) -> None:
        """Begin at none."""
        self.made = 0

    def within(self, opened: AbstractContextManager[Any]) -> "Counting":
        """Return a read transaction that counts."""
        return Counting(opened, self)


class Counting:
    """A transaction or a cursor of the store of which every step is counted."""

    def __init__(self, inner: Any, reads: Reads) -> None:  # noqa: ANN401 -- the binding's own types
        """Stand in for ``inner``."""
        self._inner = inner
        self._reads = reads

    def __enter__(self) -> Self:
        """Give it."""
        self._inner.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._inner.__exit__(*error)

    def abort(self) -> None:
        """End it."""
        self._inner.abort()

    def get(self, *args: object, **names: object) -> object:
        """Look a key up."""
        self._reads.made += 1
        return self._inner.get(*args, **names)

    def cursor(self, *args: object, **names: object) -> "Counting":
        """Open a cursor."""
        return Counting(self._inner.cursor(*args, **names), self._reads)

    def set_range(self, key: bytes) -> object:
        """Go to a key."""
        self._reads.made += 1
        return self._inner.set_range(key)

    def next(self) -> object:
        """Go on."""
        self._reads.made += 1
        return self._inner.next()

    def key(self) -> object:
        """Read a key."""
        return self._inner.key()

    def value(self) -> object:
        """Read a value."""
        return self._inner.value()


def fill(world: World, count: int) -> None:
    """Make ``count`` of everything, an identity with a subtree of its own in their middle."""
    world.found()
    world.identity("ann")
    key = world.minted(None).token
    pattern = world.budget(limit(10)).budget
    with world.look() as part:
        ann = part.identities.get("ann")
    assert ann is not None

    def work(txn: Transaction, numbers: range) -> None:
        tenant = txn.tenants.get(1)
        assert tenant is not None
        part = txn.of(tenant)
        for number in numbers:
            revision = txn.tenants.advance(1)
            is_below = count // 2 <= number < count // 2 + BELOW_ANN
            owner, name = "ann" if is_below else "root", f"i{number}"
            identity = msgspec.structs.replace(ann, identity_id=name, parent_id=owner, external_id=f"e{number}")
            part.identities.add(name, identity, revision, owner=owner, external_id=identity.external_id)
            token = msgspec.structs.replace(key, token_id=f"tok{number}")
            part.tokens.add(token.token_id, token, revision, owner=owner)
            budget = msgspec.structs.replace(
                pattern, budget_id=world.ids("bud", number), identity_id=name, revision=revision
            )
            part.budgets.add(budget.budget_id, budget, revision, owner=name)
            policy = PolicyRecord(
                policy_id=f"p{number}",
                identity_id=owner,
                name="p",
                rules=None,
                cedar="",
                requirements={},
                created_at_us=0,
                revision=revision,
            )
            part.policies.add(policy.policy_id, policy, revision, owner=owner)
            part.audit.append("note", world.now_us + number * SECOND, {"identity": name})

    for start in range(0, count, CHUNK):
        world.write(partial(work, numbers=range(start, min(start + CHUNK, count))))


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, World]]:
    """A tenant with 100 of everything, and one with 20,000."""
    with World(tmp_path_factory.mktemp("small")) as small, World(tmp_path_factory.mktemp("large")) as large:
        fill(small, SMALL)
        fill(large, LARGE)
        yield small, large


def reads_of(world: World, call: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> int:
    """How much of the store a call reads."""
    reads = Reads()
    plain = world.environment.read
    monkeypatch.setattr(world.environment, "read", lambda: reads.within(plain()))
    call()
    monkeypatch.undo()
    return reads.made


def ann(world: World) -> Caller:
    """A token of ann, as it is once the request was let in."""
    with world.look() as part:
        token = next(part.tokens.all()).value
    return Caller("agent", msgspec.structs.replace(token, kind="agent", identity_id="ann"))


def middle(world: World, count: int) -> int:
    """A place in the middle of every list."""
    with world.look() as part:
        return part.identities.place_of(f"i{count // 2 + BELOW_ANN}")


def identities(wanted: IdentityFilter, caller: Callable[[World], Caller] = lambda _: OPERATOR) -> Callable[..., Any]:
    """A list of identities."""
    return lambda world, after: world.registry.listed(
        caller(world), "t_one" if caller(world) == OPERATOR else None, wanted, PageRequest(after, PAGE)
    )


LISTS: dict[str, Callable[[World, int], Any]] = {
    "identities": identities(IdentityFilter()),
    "identities below one": identities(IdentityFilter(parent_id="root")),
    "identities of a type": identities(IdentityFilter(type="agent")),
    "identities of a status": identities(IdentityFilter(status="active")),
    "policies": lambda world, after: world.legislator.listed(OPERATOR, "t_one", None, PageRequest(after, PAGE)),
    "policies of one": lambda world, after: world.legislator.listed(
        OPERATOR, "t_one", "root", PageRequest(after, PAGE)
    ),
    "budgets": lambda world, after: world.treasurer.listed(
        OPERATOR, "t_one", BudgetFilter(), PageRequest(after, PAGE), world.now_us
    ),
    "tokens": lambda world, after: world.desk.listed(OPERATOR, "t_one", None, PageRequest(after, PAGE))[1],
    "tokens of one": lambda world, after: world.desk.listed(OPERATOR, "t_one", "root", PageRequest(after, PAGE))[1],
    "the roster": lambda world, after: world.run(
        Roster(world.store, world.registry).listed(OPERATOR, "t_one", PageRequest(after, PAGE), world.now_us)
    ),
    "audit records": lambda world, after: world.auditor.listed(
        OPERATOR, "t_one", AuditFilter(), PageRequest(after, PAGE)
    )[1],
}


@pytest.mark.parametrize("listed", LISTS.values(), ids=LISTS)
@pytest.mark.parametrize("is_first", [True, False], ids=["first page", "middle"])
def test_a_page_of_ten_costs_as_much_in_20_000_as_in_100(
    worlds: tuple[World, World],
    listed: Callable[[World, int], Any],
    is_first: bool,  # noqa: FBT001 -- a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    for world, count in zip(worlds, (SMALL, LARGE), strict=True):
        after = 0 if is_first else middle(world, count)
        page = listed(world, after)
        assert (len(page.values), page.next_after is None) == (PAGE, False)
        made.append(reads_of(world, lambda world=world, after=after: listed(world, after), monkeypatch))  # type: ignore[misc]
    assert made[0] == made[1] <= 10 * PAGE


def test_an_agents_lists_cost_its_subtree_and_not_the_tenant(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    for world in worlds:
        caller = ann(world)
        everybody = world.registry.listed(caller, None, IdentityFilter(), PageRequest())
        assert len(everybody.values) == 1 + BELOW_ANN
        assert everybody.next_after is None
        budgets = world.treasurer.listed(caller, None, BudgetFilter(), PageRequest(), world.now_us)
        assert len(budgets.values) == BELOW_ANN
        costs.append(
            [
                reads_of(
                    world,
                    lambda: world.registry.listed(caller, None, IdentityFilter(), PageRequest()),  # noqa: B023
                    monkeypatch,
                ),
                reads_of(
                    world,
                    lambda: world.treasurer.listed(caller, None, BudgetFilter(), PageRequest(), world.now_us),  # noqa: B023
                    monkeypatch,
                ),
            ]
        )
    assert costs[0] == costs[1]


def test_an_external_id_is_one_look_up(worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = identities(IdentityFilter(external_id="e7"))
    costs = []
    for world in worlds:
        assert [each.identity.identity_id for each in listed(world, 0).values] == ["i7"]
        costs.append(reads_of(world, lambda: listed(world, 0), monkeypatch))  # noqa: B023
    assert costs[0] == costs[1] < 2 * PAGE


def test_a_time_in_the_log_is_searched_for_by_halves(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    for world, count in zip(worlds, (SMALL, LARGE), strict=True):
        wanted = AuditFilter(from_us=world.now_us + (count - PAGE) * SECOND, identity_id=f"i{count - 1}")
        _, page = world.auditor.listed(OPERATOR, "t_one", wanted, PageRequest())
        assert [entry.body["identity"] for entry in page.values] == [f"i{count - 1}"]
        costs.append(
            reads_of(
                world,
                lambda: world.auditor.listed(OPERATOR, "t_one", wanted, PageRequest()),  # noqa: B023
                monkeypatch,
            )
        )
    assert costs[1] - costs[0] <= (LARGE // SMALL).bit_length()


@pytest.mark.parametrize("what", ["identities", "audit records"])
def test_a_filter_that_fits_nothing_reads_so_much_and_leaves_the_rest_to_the_next_page(
    worlds: tuple[World, World], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, world = worlds
    pages, after = 0, 0

    def listed() -> Any:  # noqa: ANN401 -- a page of either
        request = PageRequest(after, PAGE)
        if what == "identities":
            return world.registry.listed(OPERATOR, "t_one", IdentityFilter(type="service"), request)
        return world.auditor.listed(OPERATOR, "t_one", AuditFilter(verdict="deny"), request)[1]

    assert reads_of(world, listed, monkeypatch) <= 2 * paging.SCANNED_MAX + PAGE
    while (page := listed()).next_after is not None:
        assert page.values == ()
        pages, after = pages + 1, page.next_after
    assert pages == LARGE // paging.SCANNED_MAX
