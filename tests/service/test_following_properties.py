"""Whatever happens on a control plane and on the way to a follower: both come to the same state, and it proves itself.

Histories are those of ``tests.service.histories``. In between the follower asks, is cut off, restarted, told old pages
again, or finds the change feed compacted.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.core.feed import KINDS, Change, FeedRefused, Page
from sidecar.service.following import WantsSnapshot
from tests.service.builders import World, codes
from tests.service.followers import Follower, followed_digest, forget_changes, revision_of
from tests.service.histories import REFUSALS, Life, chronicle, prove


@contextmanager
def small_parts() -> Iterator[None]:
    """Pages and marks of a few records, so that short histories take several."""
    with (
        patch("sidecar.service.feed_page.PAGE_RECORDS_MAX", 3),
        patch("sidecar.service.feed_snapshot.MARK_EVERY", 3),
        patch("sidecar.service.following_intake.AT_ONCE", 2),
        patch("sidecar.service.following_staging.AT_ONCE", 2),
        patch("sidecar.service.following_staging.MARK_EVERY", 2),
        patch("sidecar.service.following_inspection.AT_ONCE", 2),
        patch("sidecar.service.following_switch.RECORDS_MAX", 4),
        patch("sidecar.service.following_policies.LENGTH_AT_ONCE", 1),
    ):
        yield


class Way:
    """What happens to a follower on its way."""

    def __init__(self, follower: Follower, life: Life, random: Random) -> None:
        """Follow what ``life`` does."""
        self.follower = follower
        self.life = life
        self.random = random
        self.pages: list[Page] = []

    def step(self) -> None:
        """Let one thing happen."""
        follower = self.follower
        match self.random.randrange(12):
            case 0:
                follower.restart()
            case 1 if self.pages:
                follower.take(self.random.choice(self.pages))
            case 2:
                forget_changes(follower.control, self.random.randrange(20))
            case 3:
                self.life.live(self.random.randrange(1, 12))
            case 4 | 5:
                self.decide()
            case _:
                self.ask()

    def ask(self) -> None:
        """Ask for what is wanted and take it, or a part of it."""
        follower = self.follower
        if not isinstance(follower.following.wanted(), WantsSnapshot):
            self.pages.append(follower.page())
            if self.random.random() < 0.3:  # what comes late
                self.life.live(3)
            follower.take(self.pages[-1])
            return
        lines = follower.wanted_lines()
        cut = lines[: self.random.randrange(1, 2 * len(lines))]
        try:
            follower.take_lines(cut)
        except FeedRefused:
            assert len(cut) < len(lines)

    def decide(self) -> None:
        """Decide here, by what is here."""
        if self.follower.state is not None:
            self.follower.now_us = self.follower.control.now_us
            try:
                self.follower.decide(self.life.request())
            except REFUSALS:
                return


def held(follower: Follower) -> dict[tuple[str, str], Change]:
    """All that a follower has."""
    with follower.look() as part:
        return {(kind, each.id): each for kind in KINDS for each in part.feed.all(kind)}


def compare(follower: Follower, life: Life) -> None:
    """Decide the same on both: by the same policies and records the same comes out, but for what budgets have used."""
    request = life.request()
    try:
        there = follower.control.decide(request)
    except REFUSALS:
        return
    follower.sync()  # the decision there may have suspended somebody
    here = follower.decide(request)
    again = follower.control.decide(request)
    assert here.policy_revision == again.policy_revision
    if not (there.budget_checks or here.budget_checks or again.budget_checks):
        assert (here.allowed, codes(here)) == (again.allowed, codes(again))
        assert here.entity_revision == again.entity_revision


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_a_follower_comes_to_the_state_of_its_control_plane(seed: int) -> None:
    """Records, revision and decisions are the same, and the follower's own log proves and holds together."""
    with tempfile.TemporaryDirectory() as folder, small_parts(), World(Path(folder) / "control") as control:
        life = Life(control, seed)
        with Follower(Path(folder) / "follower", control) as follower:
            go(follower, life, seed)
            assert followed_digest(follower) == followed_digest(control)
            assert revision_of(follower) == revision_of(control)
            for _ in range(10):
                compare(follower, life)
            require_sound(follower)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_a_follower_of_a_subtree_has_all_that_a_new_one_gets(seed: int) -> None:
    """Nothing more either: whom policies no longer look into is gone."""
    with tempfile.TemporaryDirectory() as folder, small_parts(), World(Path(folder) / "control") as control:
        life = Life(control, seed)
        with (
            Follower(Path(folder) / "follower", control, "ann") as follower,
            Follower(Path(folder) / "fresh", control, "ann") as fresh,
        ):
            go(follower, life, seed)
            fresh.sync()
            follower.sync()
            assert held(follower) == held(fresh)
            assert followed_digest(follower) == followed_digest(fresh)
            require_sound(follower)


def go(follower: Follower, life: Life, seed: int) -> None:
    """Let things happen, then be told of everything."""
    way = Way(follower, life, Random(seed))
    for _ in range(40):
        way.step()
    follower.sync()


def require_sound(follower: Follower) -> None:
    """The follower's own store holds together, and its log proves itself."""
    assert follower.faults() == []
    proof = prove(chronicle(follower))
    assert proof.difference is None, proof.difference.sentence
    assert proof.missing_count == 0
    assert proof.decisions == follower.kinds().count("decision")
