"""The whole API as its description has it, called in ways that nobody thought of: no 5xx, and nothing undescribed.

Requests are made from the served description, good ones and broken ones, the same in each run. Where a call needs
something that exists, the description is narrowed to what does: a random id only ever shows a 404.
"""

import json
import sys
from pathlib import Path
from subprocess import run

import msgspec
import pytest

from sidecar.doors.native.examples import EXAMPLES
from tests.core.authenticator import Authenticator
from tests.process.server import OPERATOR, Client, Document, clean_environment, serving

EXAMPLES_MAX = 5
SECONDS = 240.0
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
)
CREATED = (
    "POST /v1/identities",
    "POST /v1/policies",
    "POST /v1/budgets",
    "POST /v1/tokens",
    "POST /v1/treasury/cards",
    "POST /v1/webhooks",
    "POST /v1/accounts",
    "POST /v1/authorize",
)


class Existing:
    """The tenant of the examples on a server: its key, ids of it, and spare ones for what a call takes away."""

    def __init__(self, operator: Client) -> None:
        """Make it."""
        tenant = operator.ok("POST", "/v1/tenants", EXAMPLES["POST /v1/tenants"][0].request)
        self._operator = operator
        self.key: str = tenant["api_key"]
        self.ids: dict[str, str] = {"tenant_id": tenant["tenant_id"]}
        for call in CREATED:
            self.ids |= {name: value for name, value in self._make(call).items() if name.endswith("_id") and value}
        self.ids["parent_id"] = tenant["root_identity_id"]
        del self.ids["external_id"]  # a text of the caller's, which refers to nothing
        spare = self._make("POST /v1/identities", id="spare", external_id="spare")["identity_id"]
        self.spare = {
            "/v1/identities/{identity_id}": spare,
            "/v1/identities/{identity_id}/revoke": spare,
            "/v1/policies/{policy_id}": self._make("POST /v1/policies", identity_id=spare)["policy_id"],
            "/v1/budgets/{budget_id}": self._make("POST /v1/budgets", identity_id=spare)["budget_id"],
            "/v1/tokens/{token_id}": self._make("POST /v1/tokens")["token_id"],
        }
        card = {"external_ref": None}
        for turn in ("freeze", "unfreeze", "close"):
            path = f"/v1/treasury/cards/{{card_id}}/{turn}"
            self.spare[path] = self._make("POST /v1/treasury/cards", identity_id=spare, **card)["card_id"]
        self.spare["/v1/webhooks/{webhook_id}"] = self._make("POST /v1/webhooks")["webhook_id"]
        self.spare["/v1/tokens/{token_id}/rotate"] = self._make("POST /v1/tokens")["token_id"]
        self.ids |= self._payment() | self._grant() | self._follower()
        for end in ("settle", "release", "refund"):
            self.spare[f"/v1/decisions/{{decision_id}}/{end}"] = self._make("POST /v1/authorize")["decision_id"]

    def _payment(self) -> dict[str, str]:
        """Make a payment; returns its id, and that of an account with something in it."""
        account = self.ids["account_id"]
        self._ok("/v1/policies", EXAMPLES["POST /v1/policies"][2].request)
        self._ok("/v1/accounts", EXAMPLES["POST /v1/accounts"][1].request)
        self._ok(f"/v1/accounts/{account}/deposits", {"amount": 100})
        payment = self._ok("/v1/payments", EXAMPLES["POST /v1/payments"][0].request)
        self.spare["/v1/accounts/{account_id}/close"] = self._make("POST /v1/accounts")["account_id"]
        named = {"sender_id": payment["sender_id"], "receiver_id": payment["receiver_id"]}
        return named | {"payment_id": payment["payment_id"], "from_account_id": account}

    def _grant(self) -> dict[str, str]:
        """Make a grant that waits, with a passkey of the wallet's owner."""
        made = [self._passkey(number) for number in (1, 2)]
        wallet = {"account_id": self.ids["account_id"]}
        for turn in ("approve", "revoke"):
            path = f"/v1/grants/{{grant_id}}/{turn}"
            self.spare[path] = self._make("POST /v1/grants", **wallet)["grant_id"]
        self.spare["/v1/passkeys/{passkey_id}"] = made[1]
        return {"grant_id": self._make("POST /v1/grants", **wallet)["grant_id"], "passkey_id": made[0]}

    def _follower(self) -> dict[str, str]:
        """Have a follower ship the first record of its log."""
        made = self._ok("/v1/tokens", EXAMPLES["POST /v1/tokens"][1].request)
        path = "/v1/audit/records"
        self._operator.ok("POST", path, EXAMPLES[f"POST {path}"][0].request, token=made["token"])
        return {"follower_id": made["token_id"]}

    def _passkey(self, number: int) -> str:
        owner = {"identity_id": self.ids["parent_id"]}
        credential = Authenticator(number).create(self._ok("/v1/passkeys/options", owner))
        passkey_id: str = self._ok("/v1/passkeys", owner | {"credential": msgspec.to_builtins(credential)})[
            "passkey_id"
        ]
        return passkey_id

    def _ok(self, path: str, body: object) -> Document:
        return self._operator.ok("POST", path, body, token=self.key)

    def _make(self, call: str, **changes: object) -> Document:
        request = EXAMPLES[call][0].request
        assert isinstance(request, dict)
        return self._operator.ok("POST", call.partition(" ")[2], request | changes, token=self.key)

    def narrowed(self, description: Document) -> Document:
        """Return ``description`` with the ids that exist for those that may."""
        for path, methods in description["paths"].items():
            for said in (said for operation in methods.values() for said in operation["parameters"]):
                known = self.spare.get(path) if said.get("in") == "path" else None
                known = known or self.ids.get(said.get("name", ""))
                if known is not None:
                    said["schema"] = {"type": "string", "enum": [known]}
        for name, schema in description["components"]["schemas"].items():
            for field in schema.get("properties", {}) if name.endswith("Body") else ():
                if field in self.ids:
                    optional = [] if field in schema["required"] else [None]
                    schema["properties"][field] = {"enum": [self.ids[field], *optional]}
        return description


@pytest.mark.timeout(2 * SECONDS + 30)
def test_the_api_does_what_its_description_says_and_never_fails(tmp_path: Path) -> None:
    """Every call by example, with each field at its edges and beyond, without a token, and with other methods."""
    with serving(tmp_path, "--durability", "process-crash") as (server, operator):
        existing = Existing(operator)
        description = tmp_path / "openapi.json"
        description.write_text(json.dumps(existing.narrowed(json.loads(operator.call("GET", "/openapi.json").body))))
        for token, *chosen in (
            (existing.key, "--exclude-path-regex", "^/(v1/tenants|v1/policies/reload|authorize)"),
            (OPERATOR, "--include-path-regex", "^/v1/(tenants|policies/reload)"),
        ):
            command = [sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", server.url, *chosen]
            command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES_MAX)]
            command += ["--checks", ",".join(CHECKS), "--header", f"Authorization: Bearer {token}"]
            command += ["--generation-deterministic", "--continue-on-failure", "--no-color"]
            done = run(
                command,
                check=False,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env=clean_environment(),
                cwd=tmp_path,
            )
            assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
        assert "request_failed" not in server.logs()
        assert operator.ok("GET", "/v1/audit/verify?tenant_id=acme")["valid"] is True
