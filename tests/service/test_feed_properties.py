"""Whatever happens, and however it is read: in the end a follower knows all that it should, found the slow way."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.errors import Conflict
from sidecar.core.feed import FollowedToken
from sidecar.service import feed_page, feed_snapshot
from tests.service.builders import OPERATOR, World, limit, only_schemas
from tests.service.mirror import (
    LOOKS,
    Desk,
    Mirror,
    card,
    compact,
    delete_policy,
    follower,
    head_of,
    suspend,
    tenant_of,
)

PEOPLE = (("ops", "root"), ("lab", "root"), ("ann", "ops"), ("bob", "lab"), ("cleo", "root"))
NAMED = ("ann", "bob", "cleo")


class History:
    """What happens in one tenant, and four followers that read it in their own ways."""

    def __init__(self, org: World) -> None:
        """Found it."""
        self.org = org
        org.found()
        for name, parent in PEOPLE:
            org.identity(name, parent, type_name="team" if name in {"ops", "lab"} else "agent")
        self.names = [name for name, _ in PEOPLE]
        self.tokens: list[str] = []
        self.policies: dict[str, tuple[str | None, str | None]] = {}
        desk = Desk(org)
        self.mirrors = [Mirror(desk, follower(org, top)) for top in (None, "ops", "ann", "root")]

    def name(self, pick: int) -> str:
        """Return one of the identities."""
        return self.names[pick % len(self.names)]

    def mirror(self, pick: int) -> Mirror:
        """Return one of the followers."""
        return self.mirrors[pick % len(self.mirrors)]

    def identity(self, pick: int) -> None:
        """Make one."""
        made = f"n{len(self.names)}"
        self.org.identity(made, self.name(pick), type_name="team")
        self.names.append(made)

    def budget(self, pick: int) -> None:
        """Make one."""
        self.org.budget(limit(5, self.name(pick)))

    def card(self, pick: int) -> None:
        """Make one with a limit."""
        card(self.org, self.name(pick))

    def policy(self, pick: int) -> None:
        """Make one, of an identity or of the tenant."""
        owner = None if pick % 3 == 0 else self.name(pick)
        self.policies[self.org.grant(identity_id=owner)] = (owner, None)

    def looker(self, pick: int) -> None:
        """Make one that looks into an identity."""
        owner, named = self.name(pick), NAMED[pick % len(NAMED)]
        self.policies[self.org.cedar(LOOKS.format(named), owner)] = (owner, named)

    def delete(self, pick: int) -> None:
        """Delete a policy."""
        for policy_id in list(self.policies)[pick % 5 : pick % 5 + 1]:
            del self.policies[policy_id]
            delete_policy(self.org, policy_id)

    def token(self, pick: int) -> None:
        """Make one."""
        self.tokens.append(self.org.token(None if pick % 4 == 0 else self.name(pick)).name)

    def revoke(self, _pick: int) -> None:
        """Delete a token."""
        if self.tokens:
            self.org.run(self.org.desk.revoke(OPERATOR, "t_one", self.tokens.pop(), self.org.now_us))

    def suspend(self, pick: int) -> None:
        """Suspend an identity."""
        suspend(self.org, self.name(pick))

    def files(self, pick: int) -> None:
        """Load other policy files."""
        self.org.load(only_schemas(f"// {pick}"))

    def compact(self, pick: int) -> None:
        """Forget old changes."""
        compact(self.org, pick % 20)

    def step(self, pick: int) -> None:
        """Have a follower take a page."""
        self.mirror(pick).step()

    def begin(self, pick: int) -> None:
        """Have a follower forget everything, for a snapshot."""
        self.mirror(pick).restart()

    def load(self, pick: int) -> None:
        """Have a follower take a part of a snapshot; one that began too long ago is given up."""
        try:
            self.mirror(pick).load(pick % 4 + 2)
        except Conflict:
            self.mirror(pick).restart()

    def catch_up(self, pick: int) -> None:
        """Have a follower take all that there is."""
        self.mirror(pick).catch_up()


READS: tuple[Callable[[History, int], None], ...] = (History.step, History.begin, History.load, History.catch_up)
STEPS: tuple[Callable[[History, int], None], ...] = (
    History.identity,
    History.budget,
    History.card,
    History.policy,
    History.looker,
    History.delete,
    History.token,
    History.revoke,
    History.suspend,
    History.files,
    History.compact,
    *READS,
    *READS,
)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=40))
def test_in_the_end_everything_is_known_and_of_strangers_only_what_was_named(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[Callable[[History, int], None], int]]
) -> None:
    """Pages of any size, snapshots cut off and taken up again while records change, compaction in between."""
    with pytest.MonkeyPatch.context() as patch, World(tmp_path_factory.mktemp("store")) as org:
        patch.setattr(feed_page, "PAGE_RECORDS_MAX", 5)
        patch.setattr(feed_page, "ROUND_ENTRIES", 3)
        patch.setattr(feed_snapshot, "ROUND_RECORDS", 2)
        patch.setattr(feed_snapshot, "MARK_EVERY", 3)
        history = History(org)
        for step, pick in steps:
            step(history, pick)
        for mirror in history.mirrors:
            mirror.catch_up()
            check(history, mirror)


def check(history: History, mirror: Mirror) -> None:
    """Everything is known; of identities outside, what was named once may stay."""
    top = mirror.caller.top
    inside = {key for kind, key in expected(history.org, top, set()) if kind == "identity"}
    named = {name for owner, name in history.policies.values() if name is not None and owner in inside}
    wanted, known = expected(history.org, top, named), plain(mirror)
    assert {key: known.get(key) for key in wanted} == wanted
    assert {kind for kind, _ in known.keys() - wanted.keys()} <= {"identity"}
    assert mirror.revision == head_of(history.org)
    assert top is not None or known == wanted


def plain(mirror: Mirror) -> dict[tuple[str, str], object]:
    """What a mirror knows; of a token, its digest."""
    return {
        key: change.value.token.digest if isinstance(change.value, FollowedToken) else change.value
        for key, change in mirror.known.items()
    }


def expected(org: World, top: str | None, looked_into: set[str]) -> dict[tuple[str, str], object]:
    """What a follower should know, found by looking at everything."""
    with org.store.read() as txn:
        part = txn.of(tenant_of(org))
        people = {listed.value.identity_id: listed.value for listed in part.identities.all()}

        def chain(name: str | None) -> list[str]:
            found = []
            while name is not None:
                found.append(name)
                name = people[name].parent_id
            return found

        inside = set(people) if top is None else {name for name in people if top in chain(name)} | set(chain(top))
        cards = {listed.value.card_id: listed.value for listed in part.cards.all()}
        budgets = [listed.value for listed in part.budgets.all()]
        policies = [listed.value for listed in part.policies.all()]
        tokens = [listed.value for listed in part.tokens.all() if listed.value.kind != "follower"]
        wanted: dict[tuple[str, str], object] = {("identity", name): people[name] for name in inside}
        for name in looked_into:
            wanted |= {("identity", above): people[above] for above in chain(name)}
        wanted |= {("card", key): value for key, value in cards.items() if value.identity_id in inside}
        wanted |= {("policy", each.policy_id): each for each in policies if each.identity_id in inside | {None}}
        wanted |= {("token", each.token_id): each.digest for each in tokens if each.identity_id in inside | {None}}
        for each in budgets:
            owner = cards[each.card_id].identity_id if each.card_id is not None else each.identity_id
            wanted |= {("budget", each.budget_id): each} if owner in inside else {}
        return wanted
