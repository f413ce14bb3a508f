"""Findings as SARIF 2.1.0, which code-scanning services show at the lines that they are about.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from importlib.metadata import version
from pathlib import PurePath
from typing import Final
from urllib.parse import quote

from sidecar.core.findings import RULES, Finding

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_CODES: Final = list(RULES)
_TOP: Final = "SRCROOT"


def sarif(findings: tuple[Finding, ...]) -> dict[str, object]:
    """Return one run's log; columns count characters, as ``columnKind`` says."""
    driver = {
        "name": "sidecar",
        "version": version("agent-authorization-sidecar"),
        "rules": [
            {
                "id": code,
                "shortDescription": {"text": rule.summary},
                "defaultConfiguration": {"level": rule.severity},
            }
            for code, rule in RULES.items()
        ],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_TOP: {"description": {"text": "the folder in which the command was run"}}},
        "results": [_result(finding) for finding in findings],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(finding: Finding) -> dict[str, object]:
    region = {
        "startLine": finding.line,
        "startColumn": finding.column,
        "endLine": finding.line,
        "endColumn": finding.end_column,
        "snippet": {"text": finding.excerpt},
    }
    hint = f"; {finding.hint}" if finding.hint else ""
    return {
        "ruleId": finding.code,
        "ruleIndex": _CODES.index(finding.code),
        "level": finding.severity,
        "message": {"text": finding.message + hint},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(finding.file), "region": region}}],
    }


def _artifact(file: str) -> dict[str, str]:
    path = PurePath(file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": _TOP}
