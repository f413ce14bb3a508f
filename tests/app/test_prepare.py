"""What happens before a server answers: files that may not hold keep it from starting, and change nothing."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from sidecar.app import prepare as module
from sidecar.app.loading import Trial
from sidecar.app.locks import RELOAD_LOCK, try_lock
from sidecar.app.prepare import prepare
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.watched import content_of
from sidecar.service.policy_store import LastReload, Tried
from sidecar.settings import Settings
from sidecar.state.environment import open_environment
from tests.process.server import ROOT
from tests.state.builders import reading, writing

MORE = '@id("more") forbid (principal, action, resource) when { false };'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a server that was never started, with policies of its own."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    return Settings(
        data_dir=tmp_path / "data",
        policies=tmp_path / "policies",
        schemas=ROOT / "schemas",
        admin_token="token",
        durability="process-crash",
    )


def held(settings: Settings) -> bytes | None:
    """The files that hold."""
    environment = open_environment(settings.store)
    with reading(environment) as txn:
        digest = txn.policy_files_digest()
    environment.close()
    return digest


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[PolicyFiles]:
    """Files whose tests were run; those of more than the shipped policies fail."""
    seen: list[PolicyFiles] = []

    def trial_in(_policies: Path) -> Trial:
        def trial(files: PolicyFiles) -> str | None:
            seen.append(files)
            texts = [file.text for file in files.shared]
            return "`more.test.yaml`: `is there` fails, 1 of 3 tests" if MORE in texts else None

        return trial

    monkeypatch.setattr(module, "trial_in", trial_in)
    return seen


def test_a_first_start_runs_the_tests_before_anything_is_made(settings: Settings, tried: list[PolicyFiles]) -> None:
    (settings.policies / "more.cedar").write_text(MORE)
    with pytest.raises(ConfigurationInvalid, match=r"`more\.test\.yaml`: `is there` fails"):
        prepare(settings)
    assert not settings.store.exists()
    (settings.policies / "more.cedar").unlink()
    prepare(settings)
    assert len(tried) == 2


def test_a_start_tests_files_that_differ_from_those_that_hold(settings: Settings, tried: list[PolicyFiles]) -> None:
    prepare(settings)
    before = held(settings)
    tried.clear()
    prepare(settings)
    assert tried == []
    (settings.policies / "more.cedar").write_text(MORE)
    with pytest.raises(ConfigurationInvalid, match="1 of 3 tests"):
        prepare(settings)
    assert (held(settings), len(tried)) == (before, 1)


def test_a_start_notes_what_it_saw_and_forgets_how_reloads_ended(settings: Settings) -> None:
    prepare(settings)
    environment = open_environment(settings.store)
    with writing(environment) as txn:
        txn.keep_policies_tried(Tried(b"bad", LastReload(1, "refused", "watch", "no")))
    environment.close()
    prepare(settings)
    environment = open_environment(settings.store)
    with reading(environment) as txn:
        assert txn.policies_tried() == Tried(content_of(settings.policy_folders))
    environment.close()


def test_a_start_waits_for_the_reload_of_a_server_that_was_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends by itself; where it does not, nothing is loaded beside it."""
    prepare(settings)
    monkeypatch.setattr(module, "ORPHAN_SECONDS", 0.05)
    descriptor = try_lock(settings.data_dir / RELOAD_LOCK)
    assert descriptor is not None
    with pytest.raises(ConfigurationInvalid, match="another process loads policy files"):
        prepare(settings)
    os.close(descriptor)
    assert prepare(settings) == msgspec.structs.replace(settings)
