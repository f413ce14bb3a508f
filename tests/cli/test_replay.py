"""The commands that replay a history, as their users run them: output, exit codes, and sentences for mistakes."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest

from sidecar.cli import histories
from sidecar.cli.main import main
from sidecar.cli.replay_markdown import MARKER
from sidecar.core.instants import utc_text
from sidecar.replica.files import read_files
from tests.service.builders import NOON, ROOT, SECOND, World, limit, payment, tool_call

CANDIDATE = """@id("less") forbid (principal, action == Action::"card.authorize", resource)
when { context.amount > 3000 };"""
FORBIDS = """@id("no|shell`") forbid (principal, action == Action::"card.authorize", resource)
when { resource == Merchant::"SAP" };"""


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def ran(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["sidecar", *(str(each) for each in arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Ran(int(ended.value.code or 0), told.out, told.err)

    return ran


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A store of two tenants: payments of 20, 40 and 25, one that was forbidden, and a tool call."""
    folder = tmp_path / "data"
    folder.mkdir()
    policies = tmp_path / "then"
    policies.mkdir()
    (policies / "then.cedar").write_text(FORBIDS.replace("no|shell`", "no/sap"))
    with World(folder) as world:
        world.load(read_files(policies, ROOT / "schemas"))
        world.tenant()
        world.budget(limit("100", period="total"))
        for amount, merchant in (("20", "AWS"), ("40", "AWS"), ("25", "SAP"), ("35.50", "IBM")):
            decision = world.decide(payment(amount, merchant=merchant))
            world.now_us += SECOND
            if decision.allowed:
                world.settle(decision.decision_id or "")
        world.decide(tool_call())
        world.found("t_two")
    return folder


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "less.cedar").write_text(CANDIDATE)
    return folder


@pytest.fixture
def options(data_dir: Path, candidate: Path) -> tuple[object, ...]:
    return "--data-dir", data_dir, "--policies", candidate, "--schemas", ROOT / "schemas"


def test_the_json_has_everything(run: Run, options: tuple[object, ...]) -> None:
    """DENY to ALLOW first; amounts are exact numbers."""
    ran = run("replay", *options, "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    found = orjson.loads(ran.out)
    assert {name: found[name] for name in ("decisions", "same", "allow_to_deny", "deny_to_allow")} == {
        "decisions": 5,
        "same": 2,
        "allow_to_deny": 2,
        "deny_to_allow": 1,
    }
    assert [(flip["from"], flip["amount"], flip["cause"]["id"]) for flip in found["flips"]] == [
        ("deny", 25, "no/sap"),
        ("allow", 40, "less"),
        ("allow", 35.5, "less"),
    ]
    assert '"amount":35.5,' in ran.out
    assert found["money"] == {"deny_to_allow": {"CAD": 25}, "allow_to_deny": {"CAD": 75.5}}
    assert found["groups"][1] == {
        "from": "allow",
        "to": "deny",
        "kind": "policy",
        "id": "less",
        "source": "policies/less.cedar:1",
        "decisions": 2,
        "money": {"CAD": 75.5},
    }
    assert found["proof"]["exact"]
    assert [each["tenant_id"] for each in found["tenants"]] == ["t_one", "t_two"]
    assert found["missing"] == []
    assert found["candidate"].startswith("sha256:")


def test_processes_of_their_own_find_the_same(
    run: Run, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run("replay", *options, "--format", "json", "--jobs", "1")
    monkeypatch.setattr(histories, "APART_MIN", 0)
    assert run("replay", *options, "--format", "json", "--jobs", "2") == alone


def test_nothing_flips_by_the_files_of_then(run: Run, data_dir: Path, tmp_path: Path) -> None:
    ran = run("replay", "--data-dir", data_dir, "--policies", tmp_path / "then", "--schemas", ROOT / "schemas")
    assert ran.code == 0
    assert ran.out.startswith("none of 5 decisions comes out differently\nproven first: 5 decisions come out exactly")


def test_the_text_is_for_people(run: Run, options: tuple[object, ...]) -> None:
    """Groups and flips, the more dangerous direction first, and so many rows."""
    ran = run("replay", *options, "--limit", "1")
    assert ran.code == 1
    assert "3 of 5 decisions come out differently: 1 DENY to ALLOW, 2 ALLOW to DENY" in ran.out
    assert ran.out.index("DENY to ALLOW: 1  25 CAD") < ran.out.index("ALLOW to DENY: 2  75.5 CAD")
    assert "policy less (policies/less.cedar:1)" in ran.out
    assert "and 1 more" in ran.out
    assert "\x1b" not in ran.out


def test_the_markdown_is_fit_for_a_review(run: Run, options: tuple[object, ...], candidate: Path) -> None:
    """A marker in front, details folded, and no value that could break the table."""
    (candidate / "odd.cedar").write_text(FORBIDS.replace("`", "'").replace("SAP", "IBM"))
    ran = run("replay", *options, "--format", "markdown")
    lines = ran.out.splitlines()
    assert lines[0] == MARKER
    assert "**3 of 5 decisions come out differently: 1 DENY to ALLOW, 2 ALLOW to DENY.**" in lines
    assert "| policy `less` | `policies/less.cedar:1` | 2 | 75.5 CAD |" in lines
    assert ran.out.count("<details>") == ran.out.count("</details>") == 2
    limited = run("replay", *options, "--format", "markdown", "--limit", "1").out
    assert "and 1 more" in limited


def test_only_a_range_or_a_tenant_is_told_of(run: Run, options: tuple[object, ...]) -> None:
    from_, to = utc_text(NOON + SECOND), utc_text(NOON + 2 * SECOND)
    found = orjson.loads(run("replay", *options, "--format", "json", "--from", from_, "--to", to).out)
    assert (found["decisions"], found["allow_to_deny"]) == (1, 1)
    assert found["range"] == {"from": from_, "to": to, "first": from_, "last": from_}
    other = run("replay", *options, "--format", "json", "--tenant", "t_two")
    assert (other.code, orjson.loads(other.out)["decisions"]) == (0, 0)


def test_a_file_is_written_whole(run: Run, options: tuple[object, ...], tmp_path: Path) -> None:
    """In each format, also where an older one lies."""
    target = tmp_path / "report"
    for shape, start in (("markdown", MARKER), ("text", "3 of 5"), ("json", "{")):
        ran = run("replay", *options, "--format", shape, "--output", target)
        assert (ran.code, ran.out) == (1, "")
        assert target.read_text().startswith(start)
    ran = run("replay", *options, "--output", tmp_path / "nowhere" / "report")
    assert ran.code == 2
    assert "No such file or directory" in ran.err


def test_an_export_is_replayed_like_its_store(run: Run, options: tuple[object, ...], tmp_path: Path) -> None:
    exported = run("audit", "export", *options[:2], "--output", tmp_path / "out")
    assert (exported.code, exported.err) == (0, "")
    assert exported.out.startswith("t_one: ")
    again = run("audit", "export", *options[:2], "--output", tmp_path / "out")
    assert (again.code, "exists already" in again.err) == (2, True)
    from_store = run("replay", *options, "--format", "json")
    from_export = run("replay", "--export", tmp_path / "out", *options[2:], "--format", "json")
    assert from_export == from_store
    assert run("audit", "replay", "--export", tmp_path / "out").code == 0
    part = run("audit", "export", *options[:2], "--tenant", "t_one", "--to-seq", "6", "--output", tmp_path / "part")
    assert part.out.startswith("t_one: 7 records")
    assert run("audit", "replay", "--export", tmp_path / "part").code == 0


def test_the_proof_is_told_by_tenant(run: Run, data_dir: Path) -> None:
    ran = run("audit", "replay", "--data-dir", data_dir)
    assert ran.code == 0
    assert "t_one: exact, 5 decisions decided again, " in ran.out
    lines = run("audit", "replay", "--data-dir", data_dir, "--format", "json").out.splitlines()
    assert [orjson.loads(line)["exact"] for line in lines] == [True, True]


def test_a_changed_export_fails_the_proof(run: Run, options: tuple[object, ...], tmp_path: Path) -> None:
    """Exit code 1, and the record is named; so it does in the candidate's report."""
    run("audit", "export", *options[:2], "--output", tmp_path / "out")
    entries = tmp_path / "out" / "t_one" / "entries.ndjson"
    entries.write_bytes(entries.read_bytes().replace(b'"amount":2000', b'"amount":2001', 1))
    ran = run("audit", "replay", "--export", tmp_path / "out")
    assert ran.code == 1
    assert "t_one: DIFFERS at record " in ran.out
    found = orjson.loads(run("audit", "replay", "--export", tmp_path / "out", "--format", "json").out.splitlines()[0])
    assert "was changed" in found["first_difference"]["found"]
    ran = run("replay", "--export", tmp_path / "out", *options[2:])
    assert ran.code == 1
    assert "PROOF FAILED for tenant t_one: record " in ran.out
    entries.write_bytes(entries.read_bytes().replace(b'"type":"identity_created"', b'"type":"decision"', 1))
    ran = run("replay", "--export", tmp_path / "out", *options[2:])
    assert (ran.code, "PROOF FAILED" in ran.out) == (1, True)
    assert "and counted nowhere here: the history of tenant t_one" in ran.out
    found = orjson.loads(run("replay", "--export", tmp_path / "out", *options[2:], "--format", "json").out)
    assert (found["left_out"], found["decisions"], found["proof"]["exact"]) == (["t_one"], 0, False)


def test_a_changed_engine_is_a_changed_record(run: Run, options: tuple[object, ...], tmp_path: Path) -> None:
    """Not another engine that somebody should install: the chain says so, whoever reads the record first."""
    run("audit", "export", *options[:2], "--output", tmp_path / "out")
    entries = tmp_path / "out" / "t_one" / "entries.ndjson"
    entries.write_bytes(entries.read_bytes().replace(b'"engine":"cedarpy', b'"engine":"cedarpz', 1))
    ran = run("audit", "replay", "--export", tmp_path / "out")
    assert (ran.code, ran.err) == (1, "")
    assert "t_one: DIFFERS at record " in ran.out
    assert "was changed" in ran.out


def test_missing_facts_are_named(run: Run, options: tuple[object, ...], tmp_path: Path) -> None:
    run("audit", "export", *options[:2], "--output", tmp_path / "out", "--tenant", "t_one")
    folder = tmp_path / "out" / "t_one"
    lines = (folder / "facts.ndjson").read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if b'\\"merchant_category\\":null' not in line]
    assert len(kept) == len(lines) - 5
    (folder / "facts.ndjson").write_bytes(b"".join(kept))
    manifest = folder / "manifest.json"
    told = orjson.loads(manifest.read_bytes())
    manifest.write_bytes(orjson.dumps(told | {"facts": len(kept)}))
    ran = run("audit", "replay", "--export", tmp_path / "out")
    assert (ran.code, "5 lack a fact that was erased" in ran.out) == (0, True)
    assert "the request is missing" in ran.out
    ran = run("replay", "--export", tmp_path / "out", *options[2:], "--limit", "2")
    assert ran.code == 0
    assert "5 facts are missing" in ran.out
    assert "and 3 more" in ran.out
    found = orjson.loads(run("replay", "--export", tmp_path / "out", *options[2:], "--format", "json").out)
    assert (found["missing_count"], found["decisions"], found["missing"][0]["what"]) == (5, 0, "the request")


def test_mistakes_are_one_sentence_and_code_2(
    run: Run, options: tuple[object, ...], candidate: Path, tmp_path: Path
) -> None:
    """Nothing is written."""
    target = tmp_path / "report"
    schemas = options[4:]
    cases: list[tuple[tuple[object, ...], str]] = [
        (("replay", "--data-dir", tmp_path / "none", *options[2:]), "holds no store"),
        (("replay", "--export", tmp_path / "none", *options[2:]), "is no folder, expected an export"),
        (("replay", *options, "--export", tmp_path), "--data-dir and --export exclude each other"),
        (("replay", *options, "--tenant", "t_no"), "the store has no tenant `t_no`"),
        (("replay", *options, "--from", "yesterday"), "not a time, expected RFC 3339"),
        (("replay", *options, "--from", "2026-02-03T12:00:00Z", "--to", "2026-02-03T11:00:00Z"), "must be before"),
        (("replay", *options[:2], "--policies", tmp_path / "none", *schemas), "cannot be read"),
        (("replay", *options[:4], "--schemas", candidate), "holds no `*.cedarschema` file"),
        (("audit", "export", *options[:2], "--output", tmp_path / "x", "--to-seq", "3"), "--to-seq needs --tenant"),
        (
            ("audit", "export", *options[:2], "--output", tmp_path / "x", "--tenant", "t_one", "--to-seq", "99"),
            "expected 99",
        ),
    ]
    for arguments, sentence in cases:
        ran = run(*arguments, *(("--output", target) if arguments[0] == "replay" else ()))
        assert (ran.code, ran.out) == (2, ""), arguments
        assert sentence in ran.err
        assert "Traceback" not in ran.err
    (candidate / "bad.cedar").write_text("permit (principal, action, resource)\nwhen { context.nothing };\n")
    ran = run("replay", *options, "--output", target)
    assert ran.code == 2
    assert "the candidate: policies/bad.cedar:" in ran.err
    assert not target.exists()


def test_another_engine_is_said_at_once(run: Run, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is accepted."""
    monkeypatch.setattr("sidecar.service.proof.engine", lambda: "cedarpy 9.0.0")
    ran = run("audit", "replay", *options[:2])
    assert ran.code == 2
    assert "which cannot be proven by `cedarpy 9.0.0`" in ran.err
    assert run("audit", "replay", *options[:2], "--accept-engine").code == 0


def test_a_failed_process_is_told(run: Run, options: tuple[object, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong with the command ends all of them; a process that dies is no answer."""
    monkeypatch.setattr(histories, "APART_MIN", 0)
    monkeypatch.setattr(histories, "work", _die)
    ran = run("replay", *options, "--jobs", "2")
    assert (ran.code, ran.out) == (1, "")
    assert "ended with code 9, try fewer --jobs" in ran.err


def _die(_job: object, _connection: object) -> None:
    sys.exit(9)
