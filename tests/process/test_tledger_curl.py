"""An agent that was written for tLedger, as its users try it: with curl, through its whole workflow."""

import json
import re
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest

from tests.process.server import (
    ROOT,
    Acme,
    Client,
    Document,
    Server,
    check_at_rest,
    clean_environment,
    found_acme,
    run_sidecar,
    serving,
)

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


class Shell:
    """Calls of curl with the same headers."""

    def __init__(self, server: Server, *headers: str) -> None:
        """Send ``headers`` with each call."""
        self._url = server.url
        self._headers = [word for header in headers for word in ("-H", header)]

    def __call__(self, method: str, path: str, body: Document | None = None, status: int = 200) -> Document:
        """Make a call and return the document that it is answered with."""
        data = [] if body is None else ["-d", json.dumps(body)]
        url = f"{self._url}/tledger/api/v1{path}"
        command = ["curl", "-sS", "-X", method, url, *self._headers, *data, "-w", "\n%{http_code}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        answered, _, code = done.stdout.rpartition("\n")
        assert int(code) == status, (method, path, code, answered)
        document: Document = json.loads(answered, parse_float=Decimal)
        return document


def pair_of(server: Server, acme: Acme) -> Shell:
    """Make a first pair with the tenant's key."""
    made = Shell(server, f"Authorization: Bearer {acme.key}")("POST", "/api_key/generate-api-key")
    return Shell(server, f"X-API-Key: {made['api_key']}", f"X-API-Secret: {made['api_secret']}")


def account_of(agent: Document) -> str:
    """The account of an agent in USDC."""
    (found,) = (each["id"] for each in agent["account"] if each["asset"] == "USDC")
    account_id: str = found
    return account_id


def test_the_walkthrough(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        acme = found_acme(client)
        curl = pair_of(server, acme)
        project = curl("POST", "/projects", {"name": "Trading", "description": "Desk 7", "daily_limit": 1000})
        draft = {"description": "Buys data", "project_id": project["id"]}
        buyer = curl("POST", "/agent_profiles/", draft | {"name": "Buyer", "agent_daily_limit": 50})
        seller = curl("POST", "/agent_profiles", draft | {"name": "Seller"})

        deposit = f"/v1/accounts/{account_of(buyer)}/deposits"
        client.ok("POST", deposit, {"amount": "200.5", "reference": "wire 7"}, token=acme.key)

        order = {
            "request_id": "order-1",
            "sending_agent_id": buyer["id"],
            "receiving_agent_id": seller["id"],
            "payment_amount": 12.5,
            "currency": "USDC",
            "settlement_network": "solana",
            "trace_context": "{}",
            "func_stack_hashes": "[]",
            "debug_mode": False,
        }
        paid = curl("POST", "/payment", order)
        assert (paid["status"], paid["payment_amount"], paid["request_id"]) == ("success", Decimal("12.5"), "order-1")
        assert curl("POST", "/payment/", order) == paid
        assert curl("POST", "/payment", order | {"request_id": "trial", "debug_mode": True})["status"] == "success"
        failed = curl("POST", "/payment", order | {"request_id": "order-2", "payment_amount": 40})
        assert failed["status"] == "failed"
        curl("POST", "/payment", order | {"request_id": "order-3", "currency": "SOL"}, status=409)
        curl("POST", "/payment", order | {"request_id": "order-4", "payment_amount": 0}, status=422)
        curl("POST", "/payment", order | {"request_id": "order-5", "receiving_agent_id": buyer["id"]}, status=422)

        assert curl("GET", f"/accounts/{account_of(buyer)}")["balance"] == 188
        assert curl("GET", f"/account/{account_of(seller)}/")["balance"] == Decimal("12.5")
        assert curl("GET", f"/balance/agent/{seller['id']}")["balances"][1]["balance"] == Decimal("12.5")
        assert curl("GET", f"/agent_profiles/{buyer['id']}")["account"][1]["balance"] == 188
        assert [each["status"] for each in curl("GET", "/payments?order=asc")["data"]] == [
            "success",
            "success",
            "failed",
        ]
        weekly = {"limit_amount": 300, "limit_currency": "USDC", "limit_refresh_period": "WEEKLY"}
        assert curl("POST", f"/agent_profiles/{buyer['id']}/agent_limits/", weekly)["limit_amount"] == 300
        remaining = curl("GET", f"/agent_profiles/{buyer['id']}/agent_limits/")["limits"][1]["limit_remaining"]
        assert remaining == Decimal("37.5")

        check_natively(client, acme, (project, buyer, paid, failed))
        assert curl("DELETE", f"/agent_profiles/{buyer['id']}")["deleted"] is True
        assert curl("DELETE", f"/projects/{project['id']}/")["deleted"] is True
        curl("GET", f"/projects/{project['id']}", status=404)
        withdrawal = f"/v1/accounts/{account_of(buyer)}/withdrawals"
        assert client.ok("POST", withdrawal, {"amount": 188}, token=acme.key)["balance"] == 0
        assert server.stop() == 0
    check_at_rest(server.data_dir)
    assert run_sidecar("audit", "verify", "--data-dir", str(server.data_dir)).returncode == 0


def check_natively(client: Client, acme: Acme, found: tuple[Document, ...]) -> None:
    """All that was made is there natively."""
    project, buyer, paid, failed = found

    def listed(path: str) -> list[Document]:
        data: list[Document] = client.ok("GET", path, token=acme.key)["data"]
        return data

    assert [each["identity_id"] for each in listed("/v1/identities?type=project")] == [project["id"]]
    assert {each["limit"] for each in listed(f"/v1/budgets?identity_id={buyer['id']}")} == {50, 300}
    assert [each["rules"] for each in listed(f"/v1/policies?identity_id={project['id']}")] == [
        {"actions": ["payment.create"]}
    ]
    (account,) = (each for each in listed(f"/v1/accounts?identity_id={buyer['id']}") if each["asset"] == "USDC")
    assert (account["account_id"], account["balance"]) == (account_of(buyer), 188)
    statuses = {each["payment_id"]: each["status"] for each in listed("/v1/payments")}
    assert (statuses[paid["id"]], statuses[failed["id"]]) == ("success", "failed")
    assert [each["verdict"] for each in listed("/v1/audit?action=payment.create")] == ["allow", "deny"]
    kinds = {each["type"] for each in listed("/v1/audit?limit=200")}
    assert {"deposit", "payment", "account_created", "policy_created", "budget_created"} <= kinds


@pytest.mark.parametrize("workers", [2])
def test_what_one_worker_made_another_one_knows(tmp_path: Path, workers: int) -> None:
    """Each call of curl is a connection of its own, so they meet different processes."""
    with serving(tmp_path, "--workers", str(workers)) as (server, client):
        curl = pair_of(server, found_acme(client))
        project = curl("POST", "/projects", {"name": "Trading", "description": "", "daily_limit": 10})
        for _ in range(6):
            assert curl("GET", f"/projects/{project['id']}") == project
        curl("DELETE", f"/projects/{project['id']}")
        for _ in range(6):
            curl("GET", f"/projects/{project['id']}", status=404)


DOCUMENT = (ROOT / "docs" / "dialects" / "tledger.md").read_text()


def documented() -> tuple[str, list[str]]:
    """The commands of the document: what each needs in front of it, and one text for each call of curl."""
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)).splitlines()
    head = [line for line in lines if re.match(r"\w+=", line)]
    calls = "\n".join(line for line in lines if line not in head).strip()
    return "\n".join(head), re.split(r"\n+(?=curl )", calls)


def test_the_document_can_be_followed_word_for_word(tmp_path: Path) -> None:
    """Each command of it, in its order; ids and secrets are put in from the answers before."""
    head, calls = documented()
    with serving(tmp_path) as (server, client):
        acme = found_acme(client)
        found = {"SIDECAR": server.url, "TENANT_KEY": acme.key, "KEY": "", "SECRET": ""}
        for call in calls:
            command = ["bash", "-c", f"{head}\n{call} -sS --fail-with-body"]
            done = subprocess.run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=30,
                env=clean_environment() | found,
            )
            assert done.returncode == 0, (call, done.stdout, done.stderr)
            answer: Document = json.loads(done.stdout)
            match answer.get("object"):
                case "api_key":
                    found |= {"KEY": answer["api_key"], "SECRET": answer["api_secret"]}
                case "project" if "deleted" not in answer:
                    found |= {"PROJECT": answer["id"], "OTHER": answer["treasury_agent_id"]}
                case "agent" if "account" in answer:
                    found |= {"AGENT": answer["id"], "ACCOUNT": account_of(answer)}
                case "payment":
                    found |= {"PAYMENT": answer["id"]}
                    assert answer["status"] == "success"
    assert len(calls) == 13
