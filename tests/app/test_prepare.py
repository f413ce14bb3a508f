"""What happens before a server answers: files that may not hold keep it from starting, and change nothing."""

import os
import shutil
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from sidecar.app import prepare as module
from sidecar.app.gateway_file import read_gateway
from sidecar.app.loading import Trial
from sidecar.app.locks import RELOAD_LOCK, try_lock
from sidecar.app.prepare import prepare
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.watched import content_of
from sidecar.service.feed_store import ReplicaState, Staging
from sidecar.service.policy_store import LastReload, Tried
from sidecar.settings import Settings
from sidecar.state.environment import open_environment
from tests.process.server import ROOT
from tests.service.builders import World, shipped_files
from tests.state.builders import reading, writing

MAPPING = '[mcp]\nunlisted = "ask"\n'
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


# --- Followers --------------------------------------------------------------------------------------------------------


def following(settings: Settings, url: str = "https://plane.test") -> Settings:
    """The same server as a follower, whose folders of policies are not there."""
    none = settings.data_dir / "none"
    return msgspec.structs.replace(settings, control_plane=url, control_plane_token="fw_x", policies=none, schemas=none)


def keep(settings: Settings, state: ReplicaState | None, staging: Staging | None = None) -> None:
    """Let the store be that of a follower."""
    environment = open_environment(settings.store)
    with writing(environment) as txn:
        if state is not None:
            txn.replica.keep_state(state)
        txn.replica.keep_staging(staging)
    environment.close()


FOLLOWED = ReplicaState(tenant_id="t", origin="log", follower_id="tok", scope=None, revision=1, files_digest="ab")
STAGED = Staging(origin="log", tenant_id="t_one", scope=None, is_snapshot=True, began=1, since=1)


def test_a_follower_needs_no_folders_and_loads_nothing(settings: Settings) -> None:
    for _ in range(2):
        assert prepare(following(settings)).admin_token == "token"
        assert held(settings) is None


@pytest.mark.parametrize(("state", "staging"), [(FOLLOWED, None), (None, STAGED)])
def test_what_was_a_followers_is_no_other_servers(
    settings: Settings, state: ReplicaState | None, staging: Staging | None
) -> None:
    """Also where only a part of a snapshot has come; and nothing is loaded into it."""
    prepare(following(settings))
    keep(settings, state, staging)
    with pytest.raises(ConfigurationInvalid, match=r"is a follower's, it needs its `--control-plane`"):
        prepare(settings)
    assert held(settings) is None
    prepare(following(settings))


def test_what_has_tenants_of_its_own_follows_nobody(settings: Settings) -> None:
    prepare(settings)
    prepare(following(settings))
    with World(settings.data_dir, files=shipped_files()) as world:
        world.found()
    with pytest.raises(ConfigurationInvalid, match="has tenants of its own"):
        prepare(following(settings))
    prepare(settings)


def test_shadow_policies_have_no_place_on_a_follower(settings: Settings) -> None:
    wanted = msgspec.structs.replace(following(settings), shadow_policies=settings.policies)
    with pytest.raises(ConfigurationInvalid, match="--shadow-policies"):
        prepare(wanted)
    assert not settings.store.exists()


@pytest.mark.parametrize(
    ("url", "warns"),
    [("http://plane.test", True), ("https://plane.test", False), ("http://127.0.0.1:8181", False)],
)
def test_a_token_that_crosses_a_network_in_clear_is_warned_of(
    settings: Settings,
    url: str,
    warns: bool,  # noqa: FBT001 -- a column of a table
) -> None:
    with capture_logs() as logs:
        prepare(following(settings, url))
    assert ("control_plane_not_encrypted" in [entry["event"] for entry in logs]) == warns


def test_a_mapping_file_is_read_once_and_checked_before_anything_is_made(settings: Settings, tmp_path: Path) -> None:
    """A worker that is started again must not have another mapping than those beside it."""
    gateway = tmp_path / "gateway.toml"
    mapped = msgspec.structs.replace(settings, gateway=gateway)
    gateway.write_text("[http]\nroutes = 1\n")
    with pytest.raises(ConfigurationInvalid, match=r"gateway\.toml: http"):
        prepare(mapped)
    assert not settings.store.exists()
    gateway.write_text(MAPPING)
    ready = prepare(mapped)
    gateway.write_text("[http]\nroutes = 1\n")
    assert read_gateway(ready.gateway, ready.gateway_text) == {"http": {}, "mcp": {"unlisted": "ask"}}
    assert prepare(settings).gateway_text is None
