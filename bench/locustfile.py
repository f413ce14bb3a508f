"""Agents at work, for locust: each asks, and later settles what it spent or gives back what it did not need.

The operator's token comes from ``SIDECAR_ADMIN_TOKEN``. One tenant is made for the run; each user is an agent of its
own in it, with its own budget below the team's, and a token that may release.
"""

import logging
import os
import random
import threading
from decimal import Decimal
from typing import Any

from locust import FastHttpUser, between, task
from locust.exception import StopUser

from bench.tenant import BUDGET_LIMIT, Desk, Tenant, add_budget, add_identity, set_up

SPENT_MAX = 180_00
"""Minor units of an ordinary purchase, below what the team's policy allows."""

TOO_MUCH = 250_00
MERCHANTS = (("AWS", "7372"), ("Grocer", "5411"), ("Music", "5815"), ("Computers", "5734"))

tenants: dict[str, Tenant] = {}
"""The tenant of this run by the server's address: the first user makes it, while the others wait."""

setting_up = threading.Lock()

logging.getLogger("httpx").setLevel(logging.WARNING)  # each agent is set up with a handful of calls, not worth a line


class Agent(FastHttpUser):
    """One agent. Every answer is judged: an HTTP success with the wrong verdict is a failure."""

    wait_time = between(0.05, 0.2)

    def on_start(self) -> None:
        """Become an agent of the tenant."""
        operator = os.environ.get("SIDECAR_ADMIN_TOKEN", "")
        if self.host is None or not operator:
            raise StopUser("a server is needed: `--host`, and its operator's token in `SIDECAR_ADMIN_TOKEN`")
        with setting_up:
            if self.host not in tenants:
                tenants[self.host] = set_up(self.host, operator)
        tenant = tenants[self.host]
        desk = Desk(self.host, tenant.key)
        self.agent_id = add_identity(desk, tenant.team_id, "agent", f"Agent {random.getrandbits(32):08x}")
        add_budget(desk, self.agent_id, "Agent monthly", "monthly", BUDGET_LIMIT)
        body: dict[str, object] = {"name": "locust", "identity_id": self.agent_id, "may_release": True}
        self.headers = {"Authorization": f"Bearer {desk.post('/v1/tokens', body)['token']}"}

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

    def _ask(self, amount_minor: int) -> str | None:
        """Authorize and return the decision's id, None unless it is a permit."""
        merchant, category = random.choice(MERCHANTS)
        resource = {
            "type": "merchant",
            "id": merchant,
            "amount": _major(amount_minor),
            "currency": "CAD",
            "merchant_category": category,
        }
        body = {"identity_id": self.agent_id, "action": "card.authorize", "resource": resource}
        expected = amount_minor <= SPENT_MAX
        name = "authorize, permit" if expected else "authorize, denial"
        decision = self._post("/v1/authorize", body, name, {"allowed": expected})
        return None if decision is None or not expected else str(decision["decision_id"])

    def _end(self, decision_id: str | None, how: str, body: dict[str, object]) -> None:
        """Settle or release what a permit holds."""
        if decision_id is not None:
            state = {"settle": "settled", "release": "released"}[how]
            self._post(f"/v1/decisions/{decision_id}/{how}", body, how, {"state": state})

    def _post(self, path: str, body: dict[str, Any], name: str, expected: dict[str, object]) -> dict[str, Any] | None:
        """Return the answer; one that is not as expected is marked as failed, and None is returned."""
        with self.client.post(path, json=body, headers=self.headers, name=name, catch_response=True) as answer:
            found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
            if any(found.get(field) != value for field, value in expected.items()):
                answer.failure(f"expected {expected}, got {answer.status_code} {answer.text}")
                return None
            return found


def _major(amount_minor: int) -> str:
    """Return an amount as the decimal text that the API takes."""
    return str(Decimal(amount_minor).scaleb(-2))
