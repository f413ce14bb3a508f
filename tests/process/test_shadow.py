"""Shadow policies on real servers: two workers tell one story, bad files end a start, an end loses nothing."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.process.server import (
    ROOT,
    Acme,
    Client,
    Document,
    Server,
    check_at_rest,
    found_acme,
    poll,
    run_sidecar,
    serving,
)

AT_MOST_5 = (
    '@id("at-most-5") forbid (principal, action == Action::"card.authorize", resource) when {{ context.amount > {} }};'
)
NEVER = '@id("never") forbid (principal, action == Action::"card.authorize", resource) when { context.amount < 0 };'
SECONDS = 15.0
SPREAD = 12


def folder_of(tmp_path: Path, minor: int = 500) -> Path:
    """A folder of shadow policies."""
    folder = tmp_path / "candidate"
    folder.mkdir(exist_ok=True)
    (folder / "cards.cedar").write_text(AT_MOST_5.format(minor))
    return folder


def seen(client: Client, acme: Acme) -> Document:
    """What is shown."""
    return client.ok("GET", "/v1/shadow?limit=200", token=acme.key)


def compared(client: Client, acme: Acme, decisions: int) -> Document:
    """Wait until that many decisions were compared, and return what is shown then."""
    poll(lambda: seen(client, acme)["summary"]["evaluated"] >= decisions, SECONDS)
    return seen(client, acme)


def metric(client: Client) -> list[str]:
    """The samples that count comparisons."""
    text = client.call("GET", "/metrics").body.decode()
    return [
        line for line in text.splitlines() if line.startswith("sidecar_shadow_decisions_total{") and " 0.0" not in line
    ]


def spend(server: Server, acme: Acme, times: int) -> list[Any]:
    """Have payments of 4 and of 6 permitted, over connections of their own; returns the ids of the latter."""
    found = []
    with ExitStack() as stack:
        clients = [stack.enter_context(server.client(acme.key)) for _ in range(SPREAD)]
        for number in range(times):
            amount = 6 if number % 2 else 4
            decision = clients[number % SPREAD].ok("POST", "/v1/authorize", acme.request(amount))
            assert decision["allowed"]
            if amount > 5:
                found.append(decision["decision_id"])
    return found


def test_two_workers_add_to_one_list_that_outlives_them(tmp_path: Path) -> None:
    """After SIGTERM everything is there, also what was decided right before; other files begin anew."""
    flags = ("--workers", "2", "--durability", "process-crash", "--shadow-policies", str(folder_of(tmp_path)))
    with serving(tmp_path, *flags) as (server, client):
        acme = found_acme(client)
        flipped = spend(server, acme, 40)
        found = compared(client, acme, 40)
        assert {each["decision_id"] for each in found["data"]} == set(flipped)
        assert found["summary"]["allow_to_deny"] == {"count": 20, "amounts": [{"currency": "CAD", "amount": 120}]}
        assert found["summary"]["same"] == 20
        expected = ['outcome="same"} 20.0', 'outcome="allow_to_deny"} 20.0']
        poll(lambda: [line.partition("{")[2] for line in metric(client)] == expected, SECONDS)
        spend(server, acme, 10)
        assert server.stop() == 0
        server.start()
        with server.client() as again:
            assert seen(again, acme)["summary"]["evaluated"] == 50
            assert server.stop() == 0
        folder_of(tmp_path, 300)
        server.start()
        with server.client() as again:
            assert seen(again, acme)["summary"]["evaluated"] == 0
            spend(server, acme, 2)
            assert compared(again, acme, 2)["summary"]["allow_to_deny"]["count"] == 2
        assert server.stop() == 0
    check_at_rest(server.data_dir)


def test_changed_shadow_policies_are_reloaded_for_all_workers_and_bad_ones_are_told(tmp_path: Path) -> None:
    """Comparison begins anew with other files; refused ones leave the former, and keep no live files back."""
    for name in ("policies", "schemas"):
        shutil.copytree(ROOT / name, tmp_path / name)
    folders = ("--policies", str(tmp_path / "policies"), "--schemas", str(tmp_path / "schemas"))
    shadow = folder_of(tmp_path)
    flags = ("--workers", "2", "--durability", "process-crash", *folders, "--shadow-policies", str(shadow))
    with serving(tmp_path, *flags) as (server, client):
        acme = found_acme(client)
        spend(server, acme, 4)
        first = compared(client, acme, 4)["summary"]["shadow_revision"]

        def holding() -> Document:
            found: Document = client.ok("GET", "/readyz")["policies"]
            return found

        live = holding()["revision"]
        folder_of(tmp_path, 300)
        poll(lambda: seen(client, acme)["summary"]["shadow_revision"] != first, SECONDS)
        second = seen(client, acme)["summary"]["shadow_revision"]
        poll(lambda: holding()["last_reload"] is not None, SECONDS)
        assert (holding()["revision"], holding()["last_reload"]["outcome"]) == (live, "loaded")
        assert seen(client, acme)["summary"]["evaluated"] == 0
        spend(server, acme, 10)
        assert compared(client, acme, 10)["summary"]["allow_to_deny"]["count"] == 10

        (shadow / "cards.cedar").write_text("permit (nobody);")
        poll(lambda: holding()["last_reload"]["outcome"] == "refused", SECONDS)
        assert holding()["last_reload"]["reason"].startswith("the shadow policies were refused: candidate/cards.cedar")
        assert client.call("POST", "/v1/policies/reload").status == 409
        (tmp_path / "policies" / "more.cedar").write_text(NEVER)
        answer = client.ok("POST", "/v1/policies/reload")
        assert answer["policy_revision"] != live
        poll(lambda: holding()["last_reload"]["reason"] is not None, SECONDS)  # the shadow files come second
        assert holding()["last_reload"]["outcome"] == "loaded"
        assert holding()["last_reload"]["reason"].startswith("the shadow policies were refused: candidate/cards.cedar")
        spend(server, acme, 4)
        compared(client, acme, 14)
        assert seen(client, acme)["summary"]["shadow_revision"] == second
        assert "watch_failed" not in server.logs()
        assert server.logs().count("shadow_files_refused") == 1
        assert server.stop() == 0
    check_at_rest(server.data_dir)


def test_bad_shadow_policies_end_the_start_with_their_place(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    (folder / "bad.cedar").write_text("\npermit (nobody);\n")
    words = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"))
    for done in (
        run_sidecar(*words, "--shadow-policies", str(folder)),
        run_sidecar(*words, environment={"SIDECAR_SHADOW_POLICIES": str(folder)}),
    ):
        assert done.returncode == 2
        assert "candidate/bad.cedar:2:" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    missing = run_sidecar(*words, "--shadow-policies", str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr
    assert not (tmp_path / "data" / "db").exists()
