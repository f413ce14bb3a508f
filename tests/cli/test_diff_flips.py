"""`sidecar diff` tells which requests of tests and which decisions of a history its two sets decide differently."""

import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from sidecar.cli.diff_flips_report import SHOWN_MAX
from sidecar.cli.main import main
from tests.service.builders import World, only_schemas, payment

PAYS = '@id("pays") permit (principal, action == Action::"card.authorize", resource) when {{ context.amount <= {} }};\n'
TESTS = """now: 2026-11-22T12:00:00Z
identities:
  - {id: agent, type: agent}
tests:
  - name: pays <amount>
    parameters:
      - [amount, decision]
      - [1, allow]
      - [6, deny]
      - [60, deny]
    request:
      identity: agent
      action: card.authorize
      resource: {type: merchant, id: AWS, amount: <amount>, currency: CAD}
    expect: <decision>
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """What ``sidecar`` ends with and prints, called where there are two sets, a test and no schema of another."""
    monkeypatch.chdir(tmp_path)
    for name, bound in (("one", 500), ("two", 700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f.cedar").write_text(PAYS.format(bound))
    (tmp_path / "s").mkdir()
    for file in only_schemas().schemas:
        (tmp_path / "s" / Path(file.path).name).write_text(file.text)
    (tmp_path / "pay.test.yaml").write_text(TESTS)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sidecar", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, printed.out, printed.err

    return run


BOTH = ("diff", "one", "two", "--schemas", "s")


@pytest.mark.parametrize("tests", ["pay.test.yaml", "."])
def test_requests_of_tests_that_flip_are_told(run: Run, tests: str) -> None:
    code, told, _ = run(*BOTH, "--tests", tests)
    place = Path(tests, "pay.test.yaml") if tests == "." else tests
    assert code == 1
    assert told.endswith(
        "requests of tests: 3 decided by both, 1 from deny to allow (6 CAD)\n"
        f"+ deny → allow agent card.authorize merchant/AWS 6 CAD ({place}:9:9, pays 6)\n"
        "    not_permitted: no policy permits `card.authorize` on `merchant` `AWS` for identity `agent`\n"
        "    → permitted by `pays` at two/f.cedar:1\n"
    )


@pytest.mark.parametrize("tests", ["two/t_1/pay.test.yaml", "two/t_1", "two"])
def test_a_tenants_tests_are_about_its_policies_however_they_are_named(run: Run, tests: str) -> None:
    Path("two/t_1").mkdir()
    Path("two/t_1/own.cedar").write_text(PAYS.replace("pays", "own").format(9_000))
    Path("pay.test.yaml").rename("two/t_1/pay.test.yaml")
    assert "3 decided by both, 2 from deny to allow (66 CAD)" in run(*BOTH, "--tests", tests)[1]


def test_requests_that_neither_set_decides_are_told(run: Run) -> None:
    text = TESTS.replace("currency: CAD}", "currency: CAD}\n      context: {nope: <amount>}")
    Path("pay.test.yaml").write_text(text)
    assert (
        "requests of tests: 0 decided by both, none flips, 3 cannot be decided by either"
        in run(*BOTH, "--tests", "pay.test.yaml")[1]
    )


def test_the_other_way_round_is_less(run: Run) -> None:
    code, told, _ = run("diff", "two", "one", "--schemas", "s", "--tests", "pay.test.yaml")
    assert code == 1
    assert "1 from allow to deny (6 CAD)\n- allow → deny agent card.authorize" in told


def test_sets_that_decide_alike_flip_nothing(run: Run) -> None:
    code, told, _ = run("diff", "one", "one", "--schemas", "s", "--tests", "pay.test.yaml")
    assert code == 0
    assert told == "one → one: 1 unchanged\n\nrequests of tests: 3 decided by both, none flips\n"


def test_markdown_has_a_table_of_flips(run: Run) -> None:
    _, told, _ = run(*BOTH, "--tests", "pay.test.yaml", "--format", "markdown")
    assert "\n**requests of tests**: 3 decided by both, 1 from deny to allow (6 CAD).\n\n| | Request |" in told
    assert "| **deny → allow** | `agent card.authorize merchant/AWS 6 CAD` | `permitted by 'pays' at" in told


def made(folder: Path, *amounts: int) -> None:
    """Make a store with a history of payments in which everything is denied."""
    with World(folder, files=only_schemas()) as world:
        world.found()
        world.identity("agent")
        for amount in amounts:
            world.decide(payment(amount, "agent"))


def test_a_history_whose_chain_is_broken_is_refused(run: Run, tmp_path: Path) -> None:
    """What a changed record says would flip nothing, or anything."""
    made(tmp_path / "data", 600, 100)
    assert run("audit", "export", "--data-dir", "data", "--output", "history")[0] == 0
    entries = tmp_path / "history" / "t_one" / "entries.ndjson"
    entries.write_bytes(entries.read_bytes().replace(b'"amount":600', b'"amount":601', 1))
    code, told, complained = run(*BOTH, "--export", "history")
    assert (code, told) == (2, "")
    assert "entries.ndjson:" in complained
    assert "was changed" in complained


def test_decisions_of_a_history_that_flip_are_told(run: Run, tmp_path: Path) -> None:
    """From the data directory and from an export of it alike, and in JSON with everything."""
    made(tmp_path / "data", 600, 100, 650, 900)
    code, told, _ = run(*BOTH, "--data-dir", "data", "--format", "json")
    assert code == 1
    found = orjson.loads(told)["flips"]
    assert found["tests"] is None
    flips = found["history"].pop("flips")
    assert found["history"] == {"requests": 4, "same": 2, "deny_to_allow": 2, "allow_to_deny": 0, "missing": 0}
    assert [flip["amount"] for flip in flips] == ["6", "6.5"]
    flip = flips[0]
    assert list(flip) == [
        "place",
        "name",
        "identity_id",
        "action",
        "resource",
        "amount",
        "currency",
        "old",
        "new",
    ]
    assert (flip["identity_id"], flip["resource"], flip["currency"]) == ("agent", "merchant/AWS", "CAD")
    assert flip["old"] == {"verdict": "deny", "because": ["not_permitted"]}
    assert flip["new"] == {"verdict": "allow", "because": ["permitted by `pays` at two/f.cedar:1"]}
    assert run("audit", "export", "--data-dir", "data", "--output", "history")[0] == 0
    _, again, _ = run(*BOTH, "--export", "history", "--tenant", "t_one", "--format", "json")
    assert again == told


def test_people_are_shown_the_first_flips_and_how_many_more(run: Run, tmp_path: Path) -> None:
    made(tmp_path / "data", *[600] * (SHOWN_MAX + 3))
    _, told, _ = run(*BOTH, "--data-dir", "data")
    assert told.count("deny → allow") == SHOWN_MAX
    assert told.endswith("  and 3 more\n")
    _, told, _ = run(*BOTH, "--data-dir", "data", "--format", "markdown")
    assert told.endswith("\nAnd 3 more.\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("diff", "one", "two", "--tests", "pay.test.yaml"), "sidecar: the set `one` has no schema to decide with"),
        ((*BOTH, "--tests", "bad.test.yaml"), "sidecar: bad.test.yaml"),
        (
            ("diff", "one", "bad", "--schemas", "s", "--tests", "pay.test.yaml"),
            "sidecar: the set `bad` decides nothing: ",
        ),
        ((*BOTH, "--export", "one"), "sidecar: "),
        ((*BOTH, "--tests", "nope"), "Usage: "),
        ((*BOTH, "--export", "one", "--data-dir", "two"), "Usage: "),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    run: Run, tmp_path: Path, words: tuple[str, ...], complaint: str
) -> None:
    (tmp_path / "bad.test.yaml").write_text("tests: [")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/f.cedar").write_text(PAYS.format("context.nothing"))
    code, told, said = run(*words, "--output", "report")
    assert (code, told) == (2, "")
    assert said.startswith(complaint)
    assert not (tmp_path / "report").exists()
