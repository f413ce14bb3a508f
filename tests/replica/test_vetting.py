"""Policies of a control plane are checked in a process of their own: what is wrong is named, and none ends us."""

import asyncio
import sys

import pytest

from sidecar.core.errors import PolicyInvalid, Unavailable, ValidationFailed
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, SourceFile
from sidecar.replica import vetting
from sidecar.replica.vetting import FeedVetting, WholeTask, vet
from tests.service.builders import only_schemas, shipped_files

GOOD = "permit (principal in ?principal, action, resource);"
UNFIT = "permit (principal, action, resource) when { context.nothing == 1 };"


def record(cedar: str) -> tuple[PolicyRecord, str | None]:
    made = PolicyRecord(
        policy_id="pol_1",
        identity_id="bob",
        name="n",
        rules=None,
        cedar=cedar,
        requirements={},
        created_at_us=1,
        revision=1,
    )
    return made, "Agent"


def with_twin() -> PolicyFiles:
    """Files of which two give one id."""
    text = '@id("twin") permit (principal, action, resource);'
    files = only_schemas(text, text)
    return PolicyFiles(schemas=files.schemas, shared=files.shared, by_tenant={"t_one": (SourceFile("own", text),)})


def test_what_may_hold_is_let_pass() -> None:
    files = shipped_files()
    asyncio.run(FeedVetting()(files, None, [record(GOOD)]))
    assert vet(WholeTask(files, files, [record(GOOD)])).message is None


def test_what_may_not_hold_is_named() -> None:
    with pytest.raises(PolicyInvalid) as caught:
        asyncio.run(FeedVetting()(only_schemas(UNFIT), None, []))
    assert (caught.value.file, caught.value.line) == ("policies/extra0.cedar", 1)
    found = vet(WholeTask(only_schemas(), None, [record(UNFIT)]))
    assert (found.file, found.line) == ("/v1/policies/pol_1", 1)
    assert "twin" in (vet(WholeTask(with_twin(), None, [])).message or "")


def test_a_crash_of_the_parser_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "_MODULE", "this.is.no.module")
    with pytest.raises(ValidationFailed, match="cannot be parsed safely"):
        asyncio.run(FeedVetting()(shipped_files(), None, []))


def test_without_a_process_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vetting, "PATIENCE", 0)
    with pytest.raises(Unavailable, match="in time"):
        asyncio.run(FeedVetting()(shipped_files(), None, []))
    monkeypatch.setattr(sys, "executable", "/no/such/interpreter")
    with pytest.raises(Unavailable, match="no process"):
        asyncio.run(FeedVetting()(shipped_files(), None, []))
