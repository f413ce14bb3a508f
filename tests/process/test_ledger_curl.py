"""The curl commands of the vendor's two pages, as they stand there, against a real server; and those of our own page.

Only the base URL, the keys and the ids are others. How an answer is shown is said in a configuration of curl's own, so
that no command needs a flag more.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.process.server import ROOT, Document, Server, check_at_rest, serving

SECONDS = 60.0
PAGE = ROOT / "docs" / "dialects" / "ledger.md"

REGISTER = """\
curl -X POST https://api.useproxy.ai/v1/agents/register \\
  -H "Api-Key: $API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "externalId": "my-shopping-agent",
    "userId": "user_abc123",
    "name": "Shopping Agent",
    "spendingLimit": 50000,
    "spendingLimitFrequency": "perMonth"
  }'
"""
LOOK_UP = """\
curl "https://api.useproxy.ai/v1/agents?external_id=my-shopping-agent" \\
  -H "Api-Key: $API_KEY"
"""
CREATE_TOKEN = """\
curl -X POST https://api.useproxy.ai/v1/agents/$AGENT_ID/tokens \\
  -H "Api-Key: $API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "staging-environment"
  }'
"""
LIST_TOKENS = """\
curl https://api.useproxy.ai/v1/agents/$AGENT_ID/tokens \\
  -H "Api-Key: $API_KEY"
"""
REVOKE_TOKEN = """\
curl -X DELETE https://api.useproxy.ai/v1/agents/$AGENT_ID/tokens/$TOKEN_ID \\
  -H "Api-Key: $API_KEY"
"""
SUSPEND = """\
# Suspend an agent (freezes all cards)
curl -X PATCH https://api.useproxy.ai/v1/agents/$AGENT_ID \\
  -H "Api-Key: $API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{ "status": "suspended" }'
"""
REACTIVATE = """\
# Reactivate an agent (unfreezes all cards)
curl -X PATCH https://api.useproxy.ai/v1/agents/$AGENT_ID \\
  -H "Api-Key: $API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{ "status": "active" }'
"""
DEREGISTER = """\
curl -X POST https://api.useproxy.ai/v1/agents/$AGENT_ID/deregister \\
  -H "Api-Key: $API_KEY"
"""
CHECK_SPENDING = """\
curl https://api.useproxy.ai/v1/agents/$AGENT_ID/policy \\
  -H "Api-Key: $API_KEY"
"""
CREATE = """\
curl --request POST \\
  --url https://api.ledger.so/v1/agents \\
  --header 'Api-Key: <api-key>' \\
  --header 'Content-Type: application/json' \\
  --data '
{
  "userId": "<string>",
  "name": "<string>",
  "description": "<string>",
  "spendingLimit": 123,
  "spendingLimitFrequency": "perTransaction",
  "onLimitExceeded": "suspend",
  "maxCards": 123,
  "defaultCardLimit": 123,
  "defaultCardLimitFrequency": "perTransaction",
  "metadata": {}
}
'
"""


class Reader(NamedTuple):
    """Somebody who follows the pages, with a key and a user of an organisation at a running server."""

    folder: Path
    server: Server
    key: str
    user: str

    def run(self, command: str, **known: str) -> tuple[int, Document]:
        """Run a command; returns status and document of its answer."""
        for host in ("https://api.useproxy.ai", "https://api.ledger.so"):
            command = command.replace(host, f"{self.server.url}/ledger")
        command = command.replace('"userId": "<string>"', f'"userId": "{self.user}"')
        command = command.replace("user_abc123", self.user).replace("<api-key>", self.key)
        done = self._shell(command, {"API_KEY": self.key} | known)
        assert done.returncode == 0, (command, done.stderr)
        body, _, status = done.stdout.rpartition("\n")
        document: Document = json.loads(body)
        return int(status), document

    def _shell(self, command: str, known: dict[str, str]) -> subprocess.CompletedProcess[str]:
        (self.folder / ".curlrc").write_text('silent\nshow-error\nwrite-out = "\\n%{http_code}"\n')
        environment = os.environ | {"CURL_HOME": str(self.folder)} | known
        return subprocess.run(
            ["/bin/bash", "-c", command],
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )


def blocks() -> list[str]:
    """Return the shell blocks of our page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the pages are written with curl")


@needs_curl
def test_the_pages_commands_run_as_they_stand(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        tenant = client.ok("POST", "/v1/tenants", {"name": "Org"})
        key, root = tenant["api_key"], tenant["root_identity_id"]
        body = {"parent_id": root, "type": "user", "name": "A customer"}
        reader = Reader(tmp_path, server, key, client.ok("POST", "/v1/identities", body, token=key)["identity_id"])
        assert follow(reader) == "deregistered"
        server.stop()
    check_at_rest(tmp_path / "data")


def follow(reader: Reader) -> str:
    """Run every command in the order of its page; returns how the agent ended."""
    status, made = reader.run(REGISTER)
    assert (status, made["created"], made["token"][:8]) == (201, True, "at_live_")
    agent = made["id"]
    status, again = reader.run(REGISTER)
    assert (status, again["created"], again["token"], again["id"]) == (200, False, None, agent)
    status, listed = reader.run(LOOK_UP)
    assert (status, [each["id"] for each in listed["data"]]) == (200, [agent])
    status, token = reader.run(CREATE_TOKEN, AGENT_ID=agent)
    assert (status, token["name"], token["isActive"]) == (201, "staging-environment", True)
    status, tokens = reader.run(LIST_TOKENS, AGENT_ID=agent)
    assert (status, tokens["object"], tokens["data"][-1]["id"]) == (200, "list", token["id"])
    status, revoked = reader.run(REVOKE_TOKEN, AGENT_ID=agent, TOKEN_ID=token["id"])
    assert (status, revoked["isActive"]) == (200, False)
    for command, expected in ((SUSPEND, "suspended"), (REACTIVATE, "active")):
        status, changed = reader.run(command, AGENT_ID=agent)
        assert (status, changed["status"]) == (200, expected)
    status, policy = reader.run(CHECK_SPENDING, AGENT_ID=agent)
    assert (status, policy["spendingLimit"], policy["remaining"]) == (200, 50000, 50000)
    status, other = reader.run(CREATE)
    assert (status, other["name"], other["onLimitExceeded"], other["maxCards"]) == (201, "<string>", "suspend", 123)
    status, ended = reader.run(DEREGISTER, AGENT_ID=agent)
    assert (status, ended["id"], isinstance(ended["deregisteredAt"], int)) == (200, agent, True)
    final: str = ended["status"]
    return final


@needs_curl
def test_our_own_pages_examples_run_one_after_the_other(tmp_path: Path) -> None:
    """Every call succeeds, in one shell that stops at the first failure."""
    assert len(blocks()) > 1
    with serving(tmp_path) as (server, client):
        tenant = client.ok("POST", "/v1/tenants", {"name": "Org"})
        known = {"BASE": server.url, "API_KEY": tenant["api_key"], "ROOT_ID": tenant["root_identity_id"]}
        script = "set -euo pipefail\n" + "\n".join(blocks())
        done = subprocess.run(
            ["/bin/bash", "-c", script],
            env=os.environ | known,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
