"""What `policies/README.md` teaches is true: its policies hold, and its tests pass against them and try them whole."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.main import sidecar
from sidecar.core.policy import compile_schema
from sidecar.core.policy_compilation import compile_statements
from sidecar.service.policy_test_findings import CHECK_FIELDS, REASON_FIELDS

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "policies" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """Return what stands in the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def test_the_example_is_tested_whole_by_its_example(tmp_path: Path) -> None:
    for number, text in enumerate(blocks("cedar")):
        (tmp_path / f"example{number}.cedar").write_text(text)
    for number, text in enumerate(blocks("yaml")):
        (tmp_path / f"example{number}.test.yaml").write_text(text)
    command = ["test", str(tmp_path), "--schemas", str(ROOT / "schemas"), "--coverage"]
    result = CliRunner().invoke(sidecar, command, standalone_mode=False)
    assert (result.return_value, result.exception) == (0, None), result.output
    assert "8 passed" in result.stdout


def test_the_example_fits_the_schema() -> None:
    files = [(path.name, path.read_text()) for path in (ROOT / "schemas").glob("*.cedarschema")]
    units = [
        unit
        for text in blocks("cedar")
        for unit in compile_statements(text, "README.md", compile_schema(files), shared=True)
    ]
    assert [unit.id for unit in units] == ["travel/flights", "travel/say-why"]


@pytest.mark.parametrize("field", sorted(REASON_FIELDS | CHECK_FIELDS))
def test_every_field_that_can_be_expected_is_named(field: str) -> None:
    assert f"`{field}`" in TEXT


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.cedar")), ids=lambda path: path.name)
def test_every_shipped_file_is_in_the_table_and_has_tests(path: Path) -> None:
    assert f"| `{path.name}` |" in TEXT
    assert path.with_suffix(".test.yaml").exists()
