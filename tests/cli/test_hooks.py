"""The pre-commit hooks run commands that exist."""

import re
from pathlib import Path

import yaml

from sidecar.cli.main import sidecar

HOOKS = yaml.safe_load((Path(__file__).parent.parent.parent / ".pre-commit-hooks.yaml").read_text())


def test_hooks_name_commands() -> None:
    """Each has what pre-commit requires, and its entry is a command of the sidecar."""
    assert [hook["id"] for hook in HOOKS] == ["sidecar-check", "sidecar-fmt", "sidecar-test"]
    for hook in HOOKS:
        assert {"id", "name", "entry", "language", "files"} <= hook.keys()
        assert hook["language"] == "python"
        command, name = hook["entry"].split()
        assert command == "sidecar"
        assert hook["id"] == f"sidecar-{name}"
    assert {"check", "fmt"} <= sidecar.commands.keys()


def test_hooks_match_the_files_that_they_are_about() -> None:
    """Policies, schemas, and tests beside them."""
    names = ["policies/a.cedar", "schemas/s.cedarschema", "policies/a.test.yaml", "README.md", "a.cedar.bak"]
    matched = {hook["id"]: [name for name in names if re.search(hook["files"], name)] for hook in HOOKS}
    assert matched == {"sidecar-check": names[:2], "sidecar-fmt": names[:1], "sidecar-test": names[:3]}
