"""``kill -9`` while cards are swiped: no approval is forgotten, nothing is booked twice, every figure is the model's.

Terminals of both networks play purchases at a server that is killed at random moments. What was in flight is sent
again, as networks do; then every purchase is played to its end and the budgets are compared with what the networks'
own figures add up to.
"""

import random
import secrets
import time
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Final, NamedTuple

import pytest
from click.testing import CliRunner
from lmdb.verify import verify as verify_file

from sidecar.cli.main import sidecar
from sidecar.cli.simulations.courses import COURSES, Course, Step, play
from sidecar.cli.simulations.purchase import Authorization, Message
from tests.process.card_terminal import NETWORKS, CardAccount, open_account, usage, used
from tests.process.server import Acme, Answer, Client, Lost, Refused, Server, check_at_rest, found_acme, poll

KILLS_PER_LIFE: Final = 5
"""One kill here for so many of the native crash test, which tries the starts; most of a life is its start."""

TERMINALS_PER_NETWORK: Final = 2
MOMENT_SECONDS_MAX: Final = 0.35
ANSWER_SECONDS_MAX: Final = 20.0
CHECKED: Final = 40
DECISION: Final = "x-decision-id"

BUDGETS = (
    {"name": "month", "period": "monthly", "limit": 10_000_000},
    {"name": "total", "period": "total", "limit": 10_000_000},
)
PLAYED: Final = (
    *(course for course in COURSES if not course.is_unknown),
    Course(name="held", tells="nothing becomes of it", steps=(Step("ask", 100),)),
)
TOO_MUCH_MINOR: Final = 25_000
"""Above what the tenant's policy allows for one purchase."""


class Swiped(NamedTuple):
    """A request that was answered with a decision."""

    message: Message
    answer: Answer

    @property
    def decision_id(self) -> str:
        """The decision."""
        return self.answer.headers[DECISION]


class CardTerminal:
    """Plays one purchase after the other until the server is gone, and goes on where it was when it is back."""

    def __init__(self, account: CardAccount, seed: int) -> None:
        """Nothing has been bought yet."""
        self._account = account
        self._chance = random.Random(seed)
        self._playing: Generator[Message, bool, None] | None = None
        self._pending: Message | None = None
        self.authorizations: list[Authorization] = []
        self.swiped: list[Swiped] = []
        self.fault: BaseException | None = None

    def swipe(self, client: Client) -> None:
        """Buy until nobody listens any more; what a lost connection carried is sent again."""
        try:
            while True:
                try:
                    self._say(client)
                except Lost:
                    continue
        except Refused:
            return
        except BaseException as error:  # noqa: BLE001 -- a thread's failure is told by the test
            self.fault = error
        finally:
            client.close()

    def finish(self, client: Client) -> None:
        """Send again what was in flight, and play the purchase to its end."""
        while self._pending is not None:
            self._say(client)

    def repeat(self, client: Client, swiped: Swiped) -> Answer:
        """Send a request once more."""
        return self._account.send(client, swiped.message)

    def approved(self, swiped: Swiped) -> bool:
        """Whether a purchase was allowed."""
        return self._account.approves(swiped.answer)

    def _say(self, client: Client) -> None:
        message = self._pending or self._start()
        self._pending = message
        answer = self._account.send(client, message)
        approved = False
        if message.is_request:
            approved = self._account.approves(answer)
            if DECISION in answer.headers:
                self.swiped.append(Swiped(message, answer))
        elif answer.status == 503:
            return
        else:
            assert answer.status == 200, (message, answer)
        assert self._playing is not None
        try:
            self._pending = self._playing.send(approved)
        except StopIteration:
            self._pending = None

    def _start(self) -> Message:
        amount_minor = TOO_MUCH_MINOR if self._chance.random() < 0.1 else self._chance.randint(100, 10_000)
        authorization = self._account.authorization(self._chance, amount_minor)
        self.authorizations.append(authorization)
        self._playing = play(self._chance.choice(PLAYED), authorization, amount_minor)
        return next(self._playing)


class CardOrdeal:
    """One server, the terminals that swipe at it, and the checks between two of its lives."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Make the tenant with a program of each network; nothing is killed yet."""
        self._random = random.Random(seed)
        self._folder = folder
        self.server = Server(folder)
        with self.server, self.server.client() as client:
            self._acme: Acme = found_acme(client, BUDGETS)
            accounts = [open_account(client, self._acme, network, f"card-{network}") for network in NETWORKS]
            assert self.server.stop() == 0
        self._terminals = [
            CardTerminal(account, self._random.getrandbits(32))
            for account in accounts
            for _ in range(TERMINALS_PER_NETWORK)
        ]

    def live_and_die(self, workers: int) -> None:
        """Start, check what the life before left, swipe, kill, check at rest."""
        self.server = Server(self._folder, "--workers", str(workers))
        self.server.start()
        self._check_answers()
        before = self._count()
        threads = [Thread(target=each.swipe, args=(self.server.client(),)) for each in self._terminals]
        for thread in threads:
            thread.start()
        poll(lambda: self._count() > before or any(each.fault for each in self._terminals), ANSWER_SECONDS_MAX)
        time.sleep(self._random.uniform(0, MOMENT_SECONDS_MAX))
        self.server.kill()
        for thread in threads:
            thread.join()
        assert [each.fault for each in self._terminals if each.fault is not None] == []
        self._check_at_rest()

    def end(self) -> None:
        """Start once more, compare everything, stop, and check with the commands themselves."""
        with Server(self._folder) as self.server:
            self._check_answers()
            assert self.server.stop() == 0
        check_at_rest(self.server.data_dir)

    def _count(self) -> int:
        return sum(len(each.swiped) for each in self._terminals)

    def _check_answers(self) -> None:
        """Play out what was begun; then the figures are the model's, and answers those that were given."""
        with self.server.client(self._acme.key) as client:
            for each in self._terminals:
                each.finish(client)
            self._check_figures(client)
            swiped = [(each, one) for each in self._terminals for one in each.swiped]
            ids = {one.decision_id for _, one in swiped}
            assert len(ids) == len({one.message.event_id for _, one in swiped})
            recorded = _decisions(client)
            assert len(recorded) == len(set(recorded))
            assert ids - set(recorded) == set()
            for each, one in self._random.sample(swiped, min(CHECKED, len(swiped))):
                stored = client.ok("GET", f"/v1/decisions/{one.decision_id}")
                assert stored["allowed"] is each.approved(one)
                assert (stored["reservation"] is not None) is each.approved(one)
                again = each.repeat(client, one)
                assert (again.status, again.body) == (one.answer.status, one.answer.body)
            self._check_figures(client)

    def _check_figures(self, client: Client) -> None:
        """What is settled and on hold is what the networks' own figures add up to."""
        all_of_them = [one for each in self._terminals for one in each.authorizations]
        settled = sum(one.captured_minor for one in all_of_them)
        held = sum(one.open_minor for one in all_of_them)
        assert usage(client, self._acme) == [used(Decimal(settled) / 100, Decimal(held) / 100)] * len(BUDGETS)

    def _check_at_rest(self) -> None:
        """The log holds, as do the figures and the file."""
        data_dir = ["--data-dir", str(self.server.data_dir)]
        for words in (["verify", "--tenant", self._acme.tenant_id], ["fsck"]):
            done = CliRunner().invoke(sidecar, ["audit", *words, *data_dir])
            assert done.exit_code == 0, (words, done.output, done.exception)
        assert verify_file(str(self.server.data_dir / "db")) == []  # type: ignore[no-untyped-call]  # it has no types


def _decisions(client: Client) -> list[str]:
    """Return the decisions of the tenant's log in its order."""
    found, cursor = [], ""
    while True:
        page = client.ok("GET", f"/v1/audit?limit=200{cursor}")
        found += [each["decision_id"] for each in page["data"] if each["type"] == "decision"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.crash
def test_no_approval_is_lost_and_nothing_is_booked_twice_when_the_server_is_killed(
    tmp_path: Path, kills: int, kill_seed: int | None
) -> None:
    """Whatever moment a server dies at, budgets are what the networks captured and hold."""
    seed = secrets.randbits(32) if kill_seed is None else kill_seed
    print(f"repeat with --kill-seed {seed}")  # noqa: T201 -- shown when the test fails
    ordeal = CardOrdeal(tmp_path, seed)
    try:
        for number in range(max(2, kills // KILLS_PER_LIFE)):
            ordeal.live_and_die(1 + number % 2)
        ordeal.end()
    finally:
        ordeal.server.__exit__(None, None, None)
