"""A day of several tenants, for locust: agents call tools, pay by card, settle, give back, look up, are denied.

The operator's token comes from ``SIDECAR_ADMIN_TOKEN``. The day lasts ``DAY_SECONDS`` and has ``DAY_USERS`` agents at
its busiest hour: few at night, most before and after noon. Each agent is an identity of its own with its own budget,
below a team of one of the tenants, which are of different sizes. Every answer is judged: an HTTP success with the wrong
verdict is a failure.
"""

import logging
import os
import random
import threading
from decimal import Decimal
from typing import Any, Final

from locust import FastHttpUser, LoadTestShape, between, task
from locust.exception import StopUser

from bench import day
from bench.tenant import BUDGET_LIMIT, Desk, Tenant, add_budget, add_identity, set_up

DAY: Final = day.Day(float(os.environ.get("DAY_SECONDS", "60")), int(os.environ.get("DAY_USERS", "40")))
TENANT_WEIGHTS: Final = (60, 25, 10, 5)
"""How agents are spread over the tenants, in percent."""

SPENT_MAX: Final = 180_00
"""Minor units of an ordinary purchase, below what the team's policy allows."""

TOO_MUCH: Final = 250_00
MERCHANTS: Final = (("AWS", "7372"), ("Grocer", "5411"), ("Music", "5815"), ("Computers", "5734"))
TOOLS: Final = ("search", "fetch", "read_file", "list_files")
TOOLS_A_BATCH: Final = 5

tenants: dict[int, Tenant] = {}
"""The tenants of this run by their place in ``TENANT_WEIGHTS``: the first agent of each makes it, others wait."""

setting_up = threading.Lock()

logging.getLogger("httpx").setLevel(logging.WARNING)  # each agent is set up with a handful of calls, not worth a line


class Hours(LoadTestShape):
    """Twenty-four hours, compressed."""

    def tick(self) -> tuple[int, float] | None:
        """Return how many agents there are now and how many may start or stop a second; None when the day is over."""
        return DAY.agents_at(self.get_run_time())  # type: ignore[no-untyped-call]  # locust's own


class Agent(FastHttpUser):
    """One agent of one of the tenants."""

    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Become an agent."""
        operator = os.environ.get("SIDECAR_ADMIN_TOKEN", "")
        if self.host is None or not operator:
            raise StopUser("a server is needed: `--host`, and its operator's token in `SIDECAR_ADMIN_TOKEN`")
        number = random.choices(range(len(TENANT_WEIGHTS)), TENANT_WEIGHTS)[0]
        with setting_up:
            if number not in tenants:
                tenants[number] = set_up(self.host, operator)
        tenant = tenants[number]
        desk = Desk(self.host, tenant.key)
        name, profile = f"Agent {random.getrandbits(32):08x}", {"tool_profile": "read_only"}
        self.agent_id = add_identity(desk, tenant.team_id, "agent", name, metadata=profile)
        self.budget_id = add_budget(desk, self.agent_id, "Agent monthly", "monthly", BUDGET_LIMIT)
        body: dict[str, object] = {"name": "locust", "identity_id": self.agent_id, "may_release": True}
        self.headers = {"Authorization": f"Bearer {desk.post('/v1/tokens', body)['token']}"}
        self.newest = ""

    @task(20)
    def call_a_tool(self) -> None:
        """Ask whether a tool may be called; this costs no money."""
        self._post("/v1/authorize", self._tool(random.choice(TOOLS)), "tool, permit", {"allowed": True})

    @task(1)
    def call_a_forbidden_tool(self) -> None:
        """Ask for a tool that nobody may call, and be denied."""
        self._post("/v1/authorize", self._tool("shell"), "tool, denial", {"allowed": False})

    @task(2)
    def plan_several_calls(self) -> None:
        """Ask about several tools at once."""
        body = {"requests": [self._tool(random.choice(TOOLS)) for _ in range(TOOLS_A_BATCH)]}
        with self._sent("/v1/authorize/batch", body, "batch") as answer:
            decisions = (_judged(answer, {}) or {}).get("decisions", [])
            if not all(decision["allowed"] for decision in decisions):
                answer.failure(f"a tool of the batch was denied: {answer.text}")

    @task(6)
    def buy(self) -> None:
        """Ask, then settle all that is held."""
        self._end(self._ask(random.randint(100, SPENT_MAX)), "settle", {})

    @task(2)
    def buy_for_less(self) -> None:
        """Ask, then settle a part; the rest is free again."""
        amount_minor = random.randint(100, SPENT_MAX)
        self._end(self._ask(amount_minor), "settle", {"amount": _major(amount_minor // 2)})

    @task(2)
    def think_again(self) -> None:
        """Ask, then release."""
        self._end(self._ask(random.randint(100, SPENT_MAX)), "release", {})

    @task(1)
    def ask_for_too_much(self) -> None:
        """Ask for more than the policy allows, and be denied."""
        self._ask(TOO_MUCH)

    @task(3)
    def ask_beforehand(self) -> None:
        """Ask without meaning it."""
        body = self._payment(random.randint(100, SPENT_MAX)) | {"dry_run": True}
        self._post("/v1/authorize", body, "dry run", {"allowed": True})

    @task(2)
    def look_at_the_budget(self) -> None:
        """Read what is left."""
        self._get(f"/v1/budgets/{self.budget_id}", "budget", {"budget_id": self.budget_id})

    @task(1)
    def look_at_a_decision(self) -> None:
        """Read the newest decision again."""
        if self.newest:
            self._get(f"/v1/decisions/{self.newest}", "decision", {"decision_id": self.newest})

    def _tool(self, name: str) -> dict[str, Any]:
        return {"identity_id": self.agent_id, "action": "tool.call", "resource": {"type": "tool", "id": name}}

    def _payment(self, amount_minor: int) -> dict[str, Any]:
        merchant, category = random.choice(MERCHANTS)
        resource = {
            "type": "merchant",
            "id": merchant,
            "amount": _major(amount_minor),
            "currency": "CAD",
            "merchant_category": category,
        }
        return {"identity_id": self.agent_id, "action": "card.authorize", "resource": resource}

    def _ask(self, amount_minor: int) -> str | None:
        """Authorize and return the decision's id, None unless it is a permit."""
        expected = amount_minor <= SPENT_MAX
        name = "card, permit" if expected else "card, denial"
        decision = self._post("/v1/authorize", self._payment(amount_minor), name, {"allowed": expected})
        if decision is None or not expected:
            return None
        self.newest = str(decision["decision_id"])
        return self.newest

    def _end(self, decision_id: str | None, how: str, body: dict[str, object]) -> None:
        """Settle or release what a permit holds."""
        if decision_id is not None:
            state = {"settle": "settled", "release": "released"}[how]
            self._post(f"/v1/decisions/{decision_id}/{how}", body, how, {"state": state})

    def _post(self, path: str, body: dict[str, Any], name: str, expected: dict[str, object]) -> dict[str, Any] | None:
        """Return the answer; one that is not as expected is marked as failed, and None is returned."""
        with self._sent(path, body, name) as answer:
            return _judged(answer, expected)

    def _sent(self, path: str, body: dict[str, Any], name: str) -> Any:  # noqa: ANN401  # locust's own
        return self.client.post(path, json=body, headers=self.headers, name=name, catch_response=True)

    def _get(self, path: str, name: str, expected: dict[str, object]) -> dict[str, Any] | None:
        with self.client.get(path, headers=self.headers, name=name, catch_response=True) as answer:
            return _judged(answer, expected)


def _judged(answer: Any, expected: dict[str, object]) -> dict[str, Any] | None:  # noqa: ANN401  # as above
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    if answer.status_code != 200 or any(found.get(field) != value for field, value in expected.items()):
        answer.failure(f"expected {expected}, got {answer.status_code} {answer.text}")
        return None
    return found


def _major(amount_minor: int) -> str:
    """Return an amount as the decimal text that the API takes."""
    return str(Decimal(amount_minor).scaleb(-2))
