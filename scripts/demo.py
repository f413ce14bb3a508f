"""The main job against a real server on a real store, each request and answer printed: `make demo`."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

ROOT = Path(__file__).resolve().parent.parent
READY = "ready on "
STOP_SECONDS = 10

Document = dict[str, object]
console = Console(highlight=False, soft_wrap=True)


class Client:
    """Speaks to the server with one token and prints what goes over the wire, shortened to what matters here."""

    def __init__(self, base_url: str, token: str) -> None:
        """Use ``token`` for every call."""
        self._http = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"})

    def call(self, method: str, path: str, body: Document | None = None, *, show: tuple[str, ...] = ()) -> Document:
        """Make a call, print it with the fields named in ``show``, and return the whole answer."""
        answer = self._http.request(method, path, json=body)
        document: Document = answer.json()
        console.print(f"[bold]{method} {path}[/bold]" + (f" {escape(json.dumps(body))}" if body else ""))
        shown = {name: document[name] for name in show} if show else document
        style = "red" if document.get("allowed") is False or answer.is_error else "green"
        console.print(f"  [{style}]{answer.status_code}[/{style}] {escape(json.dumps(shown))}\n")
        answer.raise_for_status()
        return document


@contextmanager
def server(token: str) -> Iterator[str]:
    """Run a server on a free port and a temporary folder; gives its address."""
    with tempfile.TemporaryDirectory(prefix="sidecar-demo-") as folder:
        command = [
            sys.executable,
            "-m",
            "sidecar",
            "serve",
            "--port",
            "0",
            "--data-dir",
            folder,
            "--log-level",
            "warning",
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "SIDECAR_ADMIN_TOKEN": token}
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line.startswith(READY):
                sys.exit("the server did not start, see above")
            yield line.removeprefix(READY).strip()
            console.print(
                "[bold cyan]The log on disk, checked by its own command beside the running server[/bold cyan]"
            )
            subprocess.run([sys.executable, "-m", "sidecar", "audit", "verify", "--data-dir", folder], check=True)
            subprocess.run([sys.executable, "-m", "sidecar", "audit", "fsck", "--data-dir", folder], check=True)
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def title(text: str) -> None:
    """Print what comes next."""
    console.print(f"[bold cyan]{text}[/bold cyan]")


def expect(*, that: bool) -> None:
    """Stop with an error when the server did not do what the demo tells."""
    if not that:
        sys.exit("the server answered something else than this demo tells")


def authorize(
    tenant: Client, identity: object, amount: float, merchant: str, category: str, **more: object
) -> Document:
    """Ask for a card payment and print the decision; ``more`` are further fields of the request."""
    body: Document = {
        "identity_id": identity,
        "action": "card.authorize",
        "resource": {
            "type": "merchant",
            "id": merchant,
            "amount": amount,
            "currency": "CAD",
            "merchant_category": category,
        },
        **more,
    }
    shown = ("decision_id", "allowed", "reasons", "reservation", "audit")
    decision = tenant.call("POST", "/v1/authorize", body, show=shown)
    explanation = decision.get("explanation")
    if isinstance(explanation, dict):
        console.print(f"  nearest that would be permitted: {explanation['nearest']}\n")
    return decision


def found(operator: Client, base_url: str) -> tuple[Client, object, object, object]:
    """Make the tenant, its hierarchy, policies and budgets; returns a client for it, the team and both agents."""
    title("A tenant; its root is the human who is accountable")
    acme = operator.call(
        "POST",
        "/v1/tenants",
        {"name": "Acme Co", "time_zone": "America/Toronto", "root": {"id": "dana", "name": "Dana, CFO"}},
        show=("tenant_id", "root_identity_id"),
    )
    tenant = Client(base_url, str(acme["api_key"]))
    title("A team below the root, two agents below the team")
    shown = ("identity_id", "parent_id", "type", "effective_status")

    def identity(body: Document) -> object:
        return tenant.call("POST", "/v1/identities", body, show=shown)["identity_id"]

    team = identity({"parent_id": acme["root_identity_id"], "type": "team", "name": "Procurement"})
    buyer = identity({"parent_id": team, "type": "agent", "name": "Procurement worker"})
    scout = identity({"parent_id": team, "type": "agent", "name": "Price scout"})
    title("A JSON rules policy on the team, beside the Cedar files in policies/ that were reviewed in git")
    rules = {"actions": ["card.authorize"], "max_amount": 200, "currencies": ["CAD"]}
    tenant.call(
        "POST",
        "/v1/policies",
        {"identity_id": team, "name": "Team card policy", "rules": rules},
        show=("policy_id", "cedar"),
    )
    title("A daily budget on the team, a smaller one on the agent")
    for owner, name, limit in ((team, "Team, a day", 500), (buyer, "Worker, a day", 120)):
        budget = {"identity_id": owner, "name": name, "dimension": "amount", "period": "daily", "limit": limit}
        tenant.call("POST", "/v1/budgets", {**budget, "currency": "CAD"}, show=("budget_id", "limit", "usage"))
    return tenant, team, buyer, scout


def decide(tenant: Client, buyer: object) -> None:
    """Show a permit, a denial by policy, a denial by budget, a settlement and a release."""
    title("A permit: 47.23 CAD at AWS; policy, both budgets, reservation and audit record in one transaction")
    first = authorize(tenant, buyer, 47.23, "AWS", "7372")
    expect(that=first["allowed"] is True)
    title("A denial by policies: the one from policies/ names its file and line, the rule its limit")
    expect(that=authorize(tenant, buyer, 250, "Lucky Star Casino", "7995")["allowed"] is False)
    title("A denial by budget: it says what remains and when to try again")
    expect(that=authorize(tenant, buyer, 100, "AWS", "7372")["allowed"] is False)
    title("20.00 of the 47.23 are settled, the rest is free again")
    settle = f"/v1/decisions/{first['decision_id']}/settle"
    expect(that=tenant.call("POST", settle, {"amount": 20})["state"] == "settled")
    title("Another permit, released unused")
    second = authorize(tenant, buyer, 100, "AWS", "7372")
    expect(that=tenant.call("POST", f"/v1/decisions/{second['decision_id']}/release")["state"] == "released")
    tenant.call("GET", f"/v1/budgets?identity_id={buyer}")


def pay(tenant: Client, team: object, buyer: object) -> None:
    """Show a card with a limit of its own, what would pass where it does not, and the kill switch."""
    title("A card of the worker: a reference with a limit that is claimed together with the budgets above")
    card = {"identity_id": buyer, "currency": "CAD", "spend_limit_daily": 30, "last4": "4242"}
    made = tenant.call("POST", "/v1/treasury/cards", card, show=("card_id", "status", "last4", "spend_limit_daily"))
    card_id = made["card_id"]
    title("More than the card may spend: denied, with the nearest amount that would pass")
    denied = authorize(tenant, buyer, 50, "AWS", "7372", card_id=card_id, explain=True)
    expect(that=denied["allowed"] is False)
    title("The kill switch on the team freezes every card below it by one mark")
    killed = tenant.call("POST", "/v1/treasury/kill-switch", {"identity_id": team})
    expect(that=killed["frozen"] == 1)
    expect(that=authorize(tenant, buyer, 5, "AWS", "7372", card_id=card_id)["allowed"] is False)


def main() -> None:
    """Walk through the main job."""
    token = secrets.token_urlsafe()
    with server(token) as base_url:
        console.print(f"a server runs on {base_url}\n")
        tenant, team, buyer, scout = found(Client(base_url, token), base_url)
        decide(tenant, buyer)
        pay(tenant, team, buyer)
        title("The team is revoked: one mark, and the next call of each agent below it is denied")
        tenant.call("POST", f"/v1/identities/{team}/revoke", show=("identity_id", "status", "affected"))
        expect(that=authorize(tenant, buyer, 5, "AWS", "7372")["allowed"] is False)
        expect(that=authorize(tenant, scout, 5, "AWS", "7372")["allowed"] is False)
        title("Proof: the audit log's hash chain from the first record to the head")
        tenant.call("GET", "/v1/audit?verdict=deny&limit=2")
        expect(that=tenant.call("GET", "/v1/audit/verify")["valid"] is True)
    console.print("[bold]done[/bold]: everything above came from a real server on a real store")


if __name__ == "__main__":
    main()
