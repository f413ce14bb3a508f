"""The commands of Tally's agents page, run by a shell against a real server: the base URL and the key are its own."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process.server import OPERATOR, ROOT, Document, serving

VENDOR = "https://api.tally.example.com"
SECONDS = 20.0

CREATE = """
curl https://api.tally.example.com/v1/agents \\
  -X POST \\
  -H "Authorization: Bearer $TALLY_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{ "id": "research-bot" }'
"""
LIST = """
curl https://api.tally.example.com/v1/agents \\
  -H "Authorization: Bearer $TALLY_API_KEY"
"""
SHOW = """
curl https://api.tally.example.com/v1/agents/research-bot \\
  -H "Authorization: Bearer $TALLY_API_KEY"
"""
DOCUMENT = ROOT / "docs" / "dialects" / "tally.md"
FIELDS = {"id", "status", "mode", "created_at", "active_signers", "pending_signers"}


def run(command: str, base: str, key: str) -> tuple[Document, int]:
    """Run a command of the page with the base URL changed; returns the document and the status."""
    script = command.replace(VENDOR, base).rstrip() + ' -sS -w "\\n%{http_code}"'
    known = os.environ | {"TALLY_API_KEY": key}
    done = subprocess.run(
        ["/bin/bash", "-c", script], env=known, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    document: Document = json.loads(body)
    return document, int(status)


NEEDS_CURL = pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are written with curl")


@NEEDS_CURL
def test_the_commands_of_the_page_run_one_after_the_other(tmp_path: Path) -> None:
    with serving(tmp_path) as (server, client):
        tenant = client.ok("POST", "/v1/tenants", {"name": "Tally Co", "mode": "test"})
        base, key = f"{server.url}/tally", tenant["api_key"]
        assert run(LIST, base, key) == ({"agents": []}, 200)
        created, status = run(CREATE, base, key)
        agent = created["agent"]
        assert (status, set(created), set(agent)) == (201, {"agent"}, FIELDS)
        assert agent | {"created_at": None} == {
            "id": "research-bot",
            "status": "no_permissions",
            "mode": "test",
            "created_at": None,
            "active_signers": 0,
            "pending_signers": 0,
        }
        assert run(CREATE, base, key) == (created, 201)
        assert run(SHOW, base, key) == (created, 200)
        assert run(LIST, base, key) == ({"agents": [agent]}, 200)
        refused, status = run(SHOW, base, "tly_test_wrong")
        assert (refused["error"]["type"], status) == ("unauthenticated", 401)
        shown, status = run(SHOW.replace("research-bot", "research%20bot%2F7"), base, key)
        assert (shown["error"]["type"], status) == ("not_found", 404)
        (native,) = client.ok("GET", "/v1/identities?external_id=research-bot", token=key)["data"]
        assert (native["type"], native["parent_id"]) == ("agent", tenant["root_identity_id"])


@NEEDS_CURL
def test_the_commands_of_our_own_document_run_too(tmp_path: Path) -> None:
    """Every call succeeds, in one shell that stops at the first failure."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    strict = 'set -euo pipefail\ncurl() { command curl --fail-with-body -sS "$@"; echo; }\n'
    with serving(tmp_path) as (server, client):
        key = client.ok("POST", "/v1/tenants", {"name": "Tally Co", "mode": "test"})["api_key"]
        known = os.environ | {"BASE": server.url, "TOKEN": OPERATOR, "TALLY_API_KEY": key}
        done = subprocess.run(
            ["/bin/bash", "-c", strict + "\n".join(blocks)],
            env=known,
            check=False,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        made = json.loads(done.stdout.splitlines()[0])
        assert (made["mode"], made["external_id"]) == ("test", "acct-acme")
        assert client.ok("GET", "/tally/v1/agents", token=key) == {"agents": []}, "deleted at the end"
