"""Test files are read with what they share, table by table, and every mistake in one is a sentence with its place."""

import os
from pathlib import Path

import pytest

from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.instants import parse_utc
from sidecar.core.snapshot import PolicyFiles, compile_files
from sidecar.replica.policy_test_cases import read_cases
from sidecar.replica.policy_tests import TENANT, chosen_test_files, find_test_files, first_failure, read_test_file
from sidecar.service.policy_tests import Case
from tests.service.builders import ROOT, only_schemas, shipped_files

SCHEMA = compile_files(only_schemas()).schema.model
ASKED = "{identity: root, action: tool.call, resource: {type: tool, id: search}}"
DENIED = f"tests:\n  - {{name: a, request: {ASKED}, expect: deny}}\n"
PAYS = """
identities:
  - {id: agent, metadata: {spend_profile: standard}}
request: {identity: agent, action: card.authorize, resource: {type: merchant, id: AWS, currency: CAD}}
"""


def read(text: str) -> list[Case]:
    return list(read_cases(text, "f", "t_test", SCHEMA))


def only(text: str) -> Case:
    (case,) = read(text)
    return case


def with_test(**keys: str) -> str:
    """A file with one test of tool calls, with keys replaced or added as YAML."""
    whole = {"name": "a", "request": ASKED, "expect": "deny"} | keys
    return "tests:\n  - " + "\n    ".join(f"{key}: {text}" for key, text in whole.items() if text) + "\n"


def test_a_request_is_laid_over_that_of_its_file() -> None:
    case = only(PAYS + "tests:\n  - {name: a, request: {resource: {amount: 47.10, id: GCP}}, expect: allow}\n")
    request = case.steps[0].request
    assert (request.identity_id, request.resource.id, request.amount_minor, request.currency) == (
        "agent",
        "GCP",
        4710,
        "CAD",
    )
    assert (case.place, case.setting.tenant.tenant_id) == ("f:6:5", "t_test")


def test_things_of_a_test_are_laid_over_those_of_its_file() -> None:
    """By id: the file's agent keeps what the test leaves open."""
    own = "identities: [{id: agent, status: suspended, metadata: {x: 1}}, {id: other, parent: agent}]"
    case = only(
        PAYS
        + f"tests:\n  - name: a\n    {own}\n"
        + "    request: {identity: other, resource: {amount: 1}}\n    expect: deny\n"
    )
    found = {each.identity_id: each for each in case.setting.identities}
    assert (found["agent"].status, found["agent"].metadata) == ("suspended", {"spend_profile": "standard", "x": 1})
    assert (found["other"].parent_id, found["agent"].parent_id, found["root"].type) == ("agent", "root", "user")


def test_metadata_may_hold_fractions_as_those_of_the_api_may() -> None:
    text = "identities: [{id: agent, metadata: {rate: 0.50, all: [1, 1.5]}}]"
    (agent,) = (each for each in only(text + "\n" + with_test()).setting.identities if each.identity_id == "agent")
    assert agent.metadata == {"rate": 0.5, "all": [1, 1.5]}


@pytest.mark.parametrize("value", ["7995", '"7995"'])
def test_a_category_is_a_text_however_it_is_written(value: str) -> None:
    text = f"tests:\n  - {{name: a, request: {{resource: {{amount: 1, merchant_category: {value}}}}}, expect: deny}}\n"
    assert only(PAYS + text).steps[0].request.merchant_category == "7995"


def test_time_is_that_of_the_test_then_of_the_file_then_a_fixed_one() -> None:
    assert only(with_test()).steps[0].now_us == parse_utc("2026-01-01T12:00:00Z", "now")
    assert only("now: 2026-02-03T04:05:06-05:00\n" + with_test()).steps[0].now_us == parse_utc(
        "2026-02-03T09:05:06Z", ""
    )
    assert only(with_test(now="2026-03-01T00:00:00Z")).steps[0].now_us == parse_utc("2026-03-01T00:00:00Z", "")


def test_a_table_is_a_case_for_each_row() -> None:
    """Rows are lists behind their names, or mappings; a name without a parameter gets all of them."""
    rows = "[[id, decision], [search, allow], [shell, deny]]"
    request = "{identity: root, action: tool.call, resource: {type: tool, id: <id>}}"
    listed = read(with_test(parameters=rows, request=request, expect="<decision>"))
    assert [case.name for case in listed] == ["a [id: search, decision: allow]", "a [id: shell, decision: deny]"]
    assert [case.steps[0].expected.decision for case in listed] == ["allow", "deny"]
    assert [case.place for case in listed] == ["f:5:34", "f:5:51"]
    mappings = read(with_test(name="call <id>!", parameters="[{id: x y}, {id: shell}]", request=request))
    assert [case.name for case in mappings] == ["call x y!", "call shell!"]
    assert [case.steps[0].request.resource.id for case in mappings] == ["x y", "shell"]


def test_a_parameter_may_be_anything() -> None:
    """A list or mapping in whole; a null leaves out; only what a row changes of the tenant is read for each row."""
    texts = "[{m: {a: 1, b: ~}, c: [x, y]}, {m: ~, c: z}]"
    first, second = read(with_test(parameters=texts, identities="[{id: root, metadata: <m>}]"))
    assert first.name == "a [m: {a: 1, b: ~}, c: [x, y]]"
    assert [each.setting.identities[0].metadata for each in (first, second)] == [{"a": 1}, {}]
    kept, also = read(with_test(parameters="[{n: 1}, {n: 2}]", identities="[{id: root, name: R}]"))
    assert kept.setting is also.setting
    long = read(with_test(parameters=f"[{{n: {'x' * 99}}}]"))
    assert long[0].name == f"a [n: {'x' * 60}…]"


def test_steps_follow_each_other_in_time() -> None:
    steps = f"[{{request: {ASKED}, expect: deny}}, {{name: b, now: 2026-02-01T00:00:00Z, expect: allow}}]"
    case = only(with_test(steps=steps, expect=""))
    assert [step.name for step in case.steps] == ["step 1", "b"]
    assert case.steps[1].request == case.steps[0].request
    assert case.steps[1].now_us == parse_utc("2026-02-01T00:00:00Z", "")


def test_whatever_a_tenant_has_can_be_written() -> None:
    """Cards, policies of both kinds, budgets with what they have used, quantities, times of reasons."""
    case = only("""
tenant: acme
time_zone: America/Toronto
mode: test
identities: [{id: root, type: organization}, {id: a, external_id: x, name: A}]
cards: [{id: c, of: a, currency: CAD, status: frozen, allowed_mccs: [5734]}, {id: d, currency: USD}]
policies:
  - {id: r, of: a, rules: {max_amount: 47.10, currencies: [CAD], blocked_mccs: [7995], allowed_hours: [9, 17]}}
  - {id: s, cedar: "permit (principal, action, resource);"}
budgets:
  - {id: b, of: a, limit: 10.5, currency: CAD, actions: [spend],
     used: {settled: 1, reserved: 0.25, at: 2026-01-01T00:00:00Z}}
  - {id: e, card: c, dimension: tokens, limit: 5, period: rolling_24h, on_exceeded: notify, on_expiry: settle, used: {}}
  - {id: f, limit: 1, dimension: count, period: total, account: acct_1}
tests:
  - name: n
    request:
      identity: a
      action: card.authorize
      card: c
      context: {purpose: "no"}
      reservation_ttl_seconds: 60
      resource: {type: merchant, id: AWS, amount: 1, currency: CAD,
                 quantities: {tokens: 5, bytes: ~}, attributes: {merchant_category: "5734"}}
    expect:
      decision: deny
      reasons: [{code: card_frozen, card: c, retry_at: 2026-01-01T00:00:00+01:00, remaining: 1.50, budget: ~}]
      budgets: {b: {remaining: 1.0, allowed: true, resets_at: ~}}
""")
    setting, request = case.setting, case.steps[0].request
    assert (setting.tenant.tenant_id, setting.tenant.mode, setting.tenant.time_zone) == (
        "acme",
        "test",
        "America/Toronto",
    )
    assert [(card.status, card.allowed_mccs) for card in setting.cards] == [("frozen", ("5734",)), ("active", ())]
    assert [(each.limit, each.owner) for each in setting.budgets] == [(1050, "a"), (5, "card\nc"), (1, "root")]
    assert [each.account_id for each in setting.budgets] == [None, None, "acct_1"]
    assert [(used.settled, used.held) for used in setting.used] == [(100, 25), (0, 0)]
    assert (request.quantities, request.context, request.ttl_seconds) == ({"tokens": 5}, {"purpose": "no"}, 60)
    expected = case.steps[0].expected
    assert expected.reasons == (
        {"code": "card_frozen", "card": "c", "retry_at": "2025-12-31T23:00:00Z", "remaining": "1.50", "budget": None},
    )
    assert expected.budgets == {"b": {"remaining": "1.0", "allowed": "true", "resets_at": None}}


CHAIN = ", ".join(f"{{id: i{n}, parent: i{n + 1}}}" for n in range(40))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[]", "f:1:1: a test file is a mapping, got a list"),
        ("tests: 5", "f:1:8: `tests` is a list, got `5`"),
        ("tests: []", "f:1:1: the file has no tests, expected some under `tests`"),
        ("test: []", "f:1:1: unknown key `test` in a test file, did you mean `tests`"),
        ("zz: []", "f:1:1: unknown key `zz` in a test file, known are `budgets`, `cards`, `description`"),
        (
            DENIED + f"  - {{name: a, request: {ASKED}, expect: deny}}",
            "f:3:5: two tests are called `a`, the first in line 2",
        ),
        (with_test(name=""), "f:2:5: a test needs `name`"),
        (with_test(name='"a\\e[31m"'), "f:2:11: not a name, expected 1 to 512 characters without control characters"),
        (with_test(expect=""), "f:2:5: a test needs `expect`"),
        (with_test(request=""), "f:2:5: the test needs a `request`"),
        (with_test(expect="perhaps"), "f:4:13: `decision` is one of `allow`, `deny`, got `perhaps`"),
        (
            with_test(expect="{decision: deny, reasons: [{code: forbiden}]}"),
            "f:4:47: `code` is one of `budget_exceeded`",
        ),
        (with_test(expect="{decision: deny, budgets: {x: {}}}"), "f:4:43: unknown budget `x`, the test has none"),
        (with_test(expect="{decision: deny, reasons: [{code: [a]}]}"), "f:4:47: `code` is a single value, got a list"),
        (with_test(request="{identity: bob}"), "f:3:25: unknown identity `bob`, the test has `root`"),
        (
            with_test(request="{identity: root, action: tool.cal}"),
            "f:3:39: the schema knows no action `tool.cal`, only",
        ),
        (with_test(request="{identity: root, action: use}"), "f:3:39: the schema knows no action `use`, only"),
        (
            with_test(request="{identity: root, action: tool.call, resource: {type: tol, id: a}}"),
            "f:3:67: the schema declares no resource type `tol`, only `account`, `agent`",
        ),
        (
            with_test(request="{identity: root, action: tool.call, resource: {type: tool, id: a, amount: 1}}"),
            "f:3:88: an amount and its currency are given together",
        ),
        (
            with_test(request=ASKED.replace("search", "a, amount: 1.234, currency: CAD")),
            "f:3:88: `1.234` has 3 decimal places, expected at most 2 for `CAD`",
        ),
        (
            with_test(
                request="{identity: root, action: tool.call, resource: {type: tool, id: a, amount: 1_0, currency: CAD}}"
            ),
            "f:3:88: `amount` is not an amount, expected a number or text such as",
        ),
        (
            with_test(
                request="{identity: root, action: tool.call, resource: {type: tool, id: a, merchant_category: 79}}"
            ),
            "f:3:99: a merchant category has four digits (ISO 18245), got `79`",
        ),
        (
            with_test(
                request="{identity: root, action: tool.call, resource: {type: tool, id: a, quantities: {count: 1}}}"
            ),
            "f:3:92: at most 16 quantities, none called `amount` or `count`",
        ),
        (
            with_test(request="{identity: root, action: tool.call, resource: {type: tool, id: a}, context: {n: 1.5}}"),
            "f:3:94: a number with a fraction or exponent cannot be compared in a policy, got `1.5`",
        ),
        (with_test(now="12:30"), "f:5:10: not a time, expected RFC 3339"),
        (with_test(parameters="[]"), "f:5:17: `parameters` is a list of rows"),
        (with_test(parameters="[[a]]"), "f:5:18: the first row has the names, each once, and the others the values"),
        (with_test(parameters="[[a, b], [1]]"), "f:5:26: a row has 2 values, one for each of `a`, `b`"),
        (with_test(parameters="[{a: 1}, {b: 1}]"), "f:5:26: every row is a mapping with the keys of the first one"),
        (with_test(parameters="[{a: 1}, {a: 1}]"), "f:5:26: two tests are called `a [a: 1]`, the first in line 5"),
        (
            with_test(parameters="[{amount: 1}]", name="<amunt>"),
            "f:2:11: unknown parameter `<amunt>`, did you mean `amount`",
        ),
        (
            with_test(parameters="[{a: [1]}]", name="x <a>"),
            "f:5:22: the parameter `a` inside of a text is a single value",
        ),
        (with_test(steps="[]", expect=""), "f:4:12: `steps` has at least one step"),
        (with_test(steps="[{expect: deny}]"), "f:4:13: a test with `steps` expects in each of them, not by itself"),
        (
            with_test(steps="[{expect: deny, now: 2020-01-01T00:00:00Z}]", expect=""),
            "f:4:33: a step is not earlier than the one before it",
        ),
        ("time_zone: Mars", "f:1:12: unknown time zone, expected an IANA name such as `America/Toronto`"),
        ("mode: life", "f:1:7: `mode` is one of `live`, `test`, got `life`"),
        ("tenant: a b", "f:1:9: not an id, expected 1 to 128"),
        ("identities: [{id: a}, {id: a}]", "f:1:23: the id `a` is there twice in `identities`"),
        ("identities: [{}]", "f:1:14: an identity needs `id`"),
        ("identities: [{id: a, type: Robot}]", "f:1:28: not a type, expected lower-case words"),
        ("identities: [{id: a, type: robot}]", "f:1:28: the schema declares no identity type `robot`, only `agent`"),
        ("identities: [{id: a, parent: b}]", "f:1:30: unknown identity `b`, the test has `a`, `root`"),
        ("identities: [{id: root, parent: root}]", "f:1:33: `root` is the root of the tenant and has no parent"),
        ("identities: [{id: a, parent: b}, {id: b, parent: a}]", "f:1:30: `a` is more than 32 steps below the root"),
        (f"identities: [{CHAIN}, {{id: i40}}]", "f:1:31: `i0` is more than 32 steps below the root"),
        ("identities: [{id: a, metadata: [1]}]", "f:1:32: `metadata` is a mapping, got a list"),
        ("identities: [{id: a, metadata: {__expr: 1}}]", "f:1:41: the key `__expr` is not allowed"),
        (f"identities: [{{id: a, metadata: {{x: {'y' * 2100}}}}}]", "f:1:32: metadata has at most 2048 bytes as JSON"),
        ("cards: [{id: c}]", "f:1:9: a card needs `currency`"),
        ("cards: [{id: c, currency: ABC}]", "f:1:27: unknown currency"),
        ("cards: [{id: c, currency: CAD, allowed_mccs: [12]}]", "f:1:46: a merchant category has four digits"),
        ("policies: [{id: p}]", "f:1:12: a policy has either `rules` or `cedar`"),
        (
            "policies: [{id: p, rules: {max_amont: 5}}]",
            "f:1:27: the rules do not fit, unknown key `max_amont`, did you mean `max_amount`",
        ),
        (
            "policies: [{id: p, rules: {allowed_hours: [9, x]}}]",
            "f:1:47: the rules do not fit, expected `int`, got `str`",
        ),
        ("policies: [{id: p, rules: {max_amount: a}}]", "f:1:40: the rules do not fit, not an amount"),
        ("budgets: [{id: b}]", "f:1:11: a budget needs `limit`"),
        ("budgets: [{id: b, limit: 5}]", "f:1:11: a budget of amounts needs a currency"),
        ("budgets: [{id: b, limit: 5.5, dimension: count}]", "f:1:26: `5.5` has decimals, expected a whole number"),
        ("budgets: [{id: b, limit: 5, currency: CAD, period: dayly}]", "f:1:52: `period` is one of `daily`"),
        ("budgets: [{id: b, limit: 5, currency: CAD, actions: [pay]}]", "f:1:54: the schema knows no action `pay`"),
        (
            "budgets: [{id: b, of: root, card: c, limit: 5, currency: CAD}]",
            "f:1:35: unknown card `c`, the test has none",
        ),
        (
            "cards: [{id: c, currency: CAD}]\nbudgets: [{id: b, of: root, card: c, limit: 5}]",
            "f:2:23: a budget hangs on an identity or on a card, one of them",
        ),
        (
            "budgets: [{id: b, limit: 5, currency: CAD, period: per_transaction, used: {settled: 1}}]",
            "f:1:75: a limit per transaction has used nothing",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        read(text)
    assert caught.value.message.startswith(sentence)
    assert "\n" not in caught.value.message


def folder(tmp_path: Path, **files: str) -> Path:
    """A folder of policies with test files by their names, `__` for a step into a folder."""
    top = tmp_path / "policies"
    for name, text in files.items():
        path = top / f"{name.replace('__', '/')}.test.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    top.mkdir(exist_ok=True)
    return top


def test_files_are_found_below_a_folder(tmp_path: Path) -> None:
    """In order, those of a tenant's folder about that tenant; hidden folders are left out, a tenant may be a link."""
    top = folder(tmp_path, b=DENIED, acme__a=DENIED, acme__deep__c=DENIED, **{".hidden__x": DENIED})
    (top / "loop").symlink_to(top)
    (top / "other").symlink_to(top / "acme")
    (top / "notes.yaml").write_text("no test")
    (top / "c.test.yml").write_text(DENIED)
    found = find_test_files(top, None)
    assert [(each.shown, each.tenant_id) for each in found] == [
        ("policies/acme/a.test.yaml", "acme"),
        ("policies/acme/deep/c.test.yaml", "acme"),
        ("policies/b.test.yaml", TENANT),
        ("policies/c.test.yml", TENANT),
        ("policies/other/a.test.yaml", "other"),
        ("policies/other/deep/c.test.yaml", "other"),
    ]


@pytest.mark.parametrize("path", ["policies", "policies/acme", "policies/acme/deep", "policies/acme/deep/c.test.yaml"])
@pytest.mark.parametrize("root", ["policies", "policies/acme/.."])
def test_a_test_in_a_tenants_folder_is_about_that_tenant_however_it_is_named(
    tmp_path: Path, path: str, root: str
) -> None:
    folder(tmp_path, acme__deep__c=DENIED)
    (file,) = chosen_test_files(tmp_path / path, [tmp_path / root])
    assert (file.tenant_id, file.shown) == ("acme", str(tmp_path / "policies/acme/deep/c.test.yaml"))


def test_outside_of_the_policies_the_folder_that_was_named_is_that_of_the_tenants(tmp_path: Path) -> None:
    top = folder(tmp_path, acme__a=DENIED)
    assert [each.tenant_id for each in chosen_test_files(top, [tmp_path / "other"])] == ["acme"]
    assert [each.tenant_id for each in chosen_test_files(top / "acme/a.test.yaml", ())] == [TENANT]


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"`.*nowhere` cannot be read: No such file or directory"):
        find_test_files(tmp_path / "nowhere", None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    top = folder(tmp_path, a="")
    (file,) = find_test_files(top, None)
    file.path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigurationInvalid, match=r"policies/a\.test\.yaml: not UTF-8 at byte 3"):
        read_test_file(file, SCHEMA)
    file.path.write_bytes(b" " * 5_000_000)
    with pytest.raises(ConfigurationInvalid, match="longer than 4 MiB"):
        read_test_file(file, SCHEMA)
    file.path.unlink()
    with pytest.raises(ConfigurationInvalid, match=r"policies/a\.test\.yaml: cannot be read: No such file"):
        read_test_file(file, SCHEMA)


def test_no_failure_where_all_pass_or_there_are_none(tmp_path: Path) -> None:
    assert first_failure(folder(tmp_path), shipped_files()) is None
    assert first_failure(ROOT / "policies", shipped_files()) is None


def test_the_first_failure_is_one_sentence(tmp_path: Path) -> None:
    """With the place of the test and how many fail; a broken file counts as one."""
    top = folder(tmp_path, a=DENIED, b=DENIED.replace("deny", "allow"), c="tests: [", d=DENIED.replace("deny", "allow"))
    assert first_failure(top, shipped_files()) == (
        "policies/b.test.yaml:2:5: test `a` fails, `decision` expected allow, got deny: not_permitted: no policy "
        "permits `tool.call` on `tool` `search` for identity `root` (3 of 4 tests fail)"
    )
    broken = first_failure(folder(tmp_path / "x", c="tests: 1"), shipped_files())
    assert broken == "policies/c.test.yaml:1:8: `tests` is a list, got `1` (1 of 1 tests fail)"
    assert first_failure(tmp_path / "nowhere", shipped_files()) is not None


def test_policies_that_do_not_compile_fail_first(tmp_path: Path) -> None:
    files = PolicyFiles(schemas=(), shared=(), by_tenant={})
    assert first_failure(folder(tmp_path, a=DENIED), files) is not None


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_test_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.test.yaml")
    (found,) = find_test_files(tmp_path)
    with pytest.raises(ConfigurationInvalid, match=r"a\.test\.yaml: cannot be read: not a regular file"):
        read_test_file(found, SCHEMA)
