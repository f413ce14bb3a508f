"""A policy file is laid out without losing anything, and a second time nothing changes."""

from pathlib import Path

import cedarpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.core import policy
from sidecar.core.findings import Source
from sidecar.core.layout import PASSES_MAX, lay_out
from sidecar.core.policy_text import tokens

P = "permit (principal, action, resource);"
SHIPPED = sorted((Path(__file__).parent.parent.parent / "policies").glob("*.cedar"))
RICH = (
    '@id("x") @advice("d") permit(principal is Agent in Team::"t", action in [Action::"a", Action::"b"], '
    'resource == A::"b") when { if context has a.b then context.a.b == -3 else !true || {a: 1, "b c": [1,2]} '
    '== context && principal.hasTag("x // y") && ip("1.1.1.1").isIpv4() && context["x"] like "a*" && (1+2)*3 <= 4 } '
    "unless { [].contains(1) && principal in resource };"
)


def laid_out(text: str) -> str:
    """A text as it should be; it can be laid out."""
    found = lay_out(Source("f.cedar", text))
    assert found.findings == ()
    return found.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("\n \n", ""),
        ("\n// a ", "// a\n"),
        (f"// head\n\n\n// own\n\n{P}", f"// head\n\n// own\n\n{P}\n"),
        (f"//a\n  {P}{P}", f"//a\n{P}\n\n{P}\n"),
        (f"{P} // x\n{P}//y", f"{P} // x\n\n{P} //y\n"),
        (f"{P}\n// end\n", f"{P}\n// end\n"),
        (f"{P} // y\n\n\n// end\n\n\n// of all\n\n", f"{P} // y\n\n// end\n\n// of all\n"),
        (f"{P}\r\n  // c \r\n{P}\r\n", f"{P}\n\n// c\n{P}\n"),
        ("permit(principal,action,resource)//a\r;", "permit (principal, action, resource) //a\n;\n"),
    ],
)
def test_what_stands_between_policies_stays(text: str, expected: str) -> None:
    """Comments keep their places and their distance, one empty line separates policies, lines end in LF."""
    assert laid_out(text) == expected


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
@pytest.mark.parametrize("width", [80, 120])
def test_policies_are_as_cedar_lays_them_out(path: Path, width: int) -> None:
    """Only empty lines differ from a whole file in Cedar's hands; laid out once more, nothing changes."""
    found = lay_out(Source(path.name, path.read_text()), width)
    assert [line for line in found.text.splitlines() if line] == [
        line for line in cedarpy.format_policies(path.read_text(), width).splitlines() if line
    ]
    assert lay_out(Source(path.name, found.text), width) == found


@given(st.sampled_from([token.offset for token in tokens(RICH, "")]), st.sampled_from([" // c\n", "\n\n//\r\n", "\n"]))
def test_a_comment_survives_wherever_it_stands(offset: int, comment: str) -> None:
    """Behind any token; and the policy is the same, and stays as it is laid out."""
    text = laid_out(f"// before\n{RICH[:offset]}{comment}{RICH[offset:]} // behind")
    assert text.count("//") == 3 + ("//" in comment)  # one of them in a text
    assert policy.trees(text) == policy.trees(RICH)
    assert laid_out(text) == text


@given(st.lists(st.sampled_from([P, RICH, "\n", "\n\n", "  ", "// c\n", "// d \r\n", "\t"])).map("".join))
@example(P + P)
def test_laying_out_twice_changes_nothing_more(text: str) -> None:
    """Whatever stands between policies."""
    once = laid_out(text)
    assert laid_out(once) == once
    assert policy.trees(once) == policy.trees(text)
    assert once.count("// c") == text.count("// c")


def test_a_file_that_does_not_parse_stays_as_it_is() -> None:
    """With all that is wrong in it."""
    text = f"{P}\npermit (principal, actn, resource);permt;"
    found = lay_out(Source("f.cedar", text))
    assert found.text == text
    assert [(each.line, each.code) for each in found.findings] == [(2, "syntax_error"), (2, "syntax_error")]


@pytest.mark.parametrize("spoilt", [P, f"{P} // c // d", "forbid (principal, action, resource); // c", "permit ( // c"])
def test_what_the_formatter_spoils_is_refused(monkeypatch: pytest.MonkeyPatch, spoilt: str) -> None:
    """A comment that is gone or changed, another policy, and text that does not parse."""
    monkeypatch.setattr(policy, "laid_out", lambda _text, _width: spoilt)
    text = f"{P[:-1]} // c\n;"
    found = lay_out(Source("f.cedar", text))
    assert found.text == text
    assert [(each.code, each.line, each.column) for each in found.findings] == [("not_formattable", 1, 1)]


def test_what_the_formatter_gives_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It checks its own work too."""

    def give_up(_text: str, _width: int) -> str:
        raise ValueError

    monkeypatch.setattr(policy, "laid_out", give_up)
    assert [each.code for each in lay_out(Source("f.cedar", P)).findings] == ["not_formattable"]


def test_a_formatter_that_never_rests_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote last is kept, as the policy is the same."""
    monkeypatch.setattr(policy, "laid_out", lambda text, _width: f" {text}")
    assert laid_out(P) == f"{' ' * PASSES_MAX}{P}\n"
