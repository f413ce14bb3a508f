"""Shadow files are loaded as live files are: checked first, kept for every worker, nothing written of bad ones."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sidecar.app import shadowing
from sidecar.app.loading import checked, load
from sidecar.app.prepare import prepare
from sidecar.app.shadowing import load_shadow, require_shadow
from sidecar.core.errors import ConfigurationInvalid
from sidecar.core.policy import CompiledSchema
from sidecar.core.snapshot import PolicyFiles, SourceFile
from sidecar.settings import Settings
from sidecar.state.environment import Environment, open_environment
from tests.core.builders import cedar_record, files
from tests.process.server import ROOT
from tests.state.builders import a_tenant, reading, rows, writing

PERMIT = '@id("{}") permit (principal, action == Action::"tool.call", resource);'
LIVE = files(("policies/a.cedar", PERMIT.format("a")))
SHADOW = files(("shadow/b.cedar", PERMIT.format("b")), ("policies/a.cedar", PERMIT.format("a")))
OTHER = files(("shadow/c.cedar", PERMIT.format("c")))
BAD = files(("shadow/bad.cedar", "\n  permit (everything);"))


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    """A store with live files and a tenant."""
    with closing(open_environment(tmp_path / "db", durability="process-crash")) as made:
        load(made, LIVE)
        with writing(made) as txn:
            txn.tenants.add(a_tenant(1))
        yield made


def held(environment: Environment) -> PolicyFiles | None:
    """The shadow files that are loaded."""
    with reading(environment) as txn:
        return txn.shadow_files.get()


def read_out(environment: Environment, *sources: SourceFile) -> list[bool]:
    """Whether it is kept what is in these files."""
    with reading(environment) as txn:
        return [txn.readings.of(each) is not None for each in sources]


def test_files_are_kept_with_what_is_in_them_until_others_come(environment: Environment) -> None:
    """What the live files need stays."""
    own, common, other = *SHADOW.shared, *OTHER.shared
    load_shadow(environment, SHADOW)
    assert held(environment) == SHADOW
    assert read_out(environment, own, common, other) == [True, True, False]
    load_shadow(environment, OTHER)
    assert held(environment) == OTHER
    assert read_out(environment, own, common, other) == [False, True, True]
    load_shadow(environment, None)
    assert held(environment) is None
    assert read_out(environment, own, common, other) == [False, True, False]
    load_shadow(environment, None)


def test_live_files_stay_as_they_are(environment: Environment) -> None:
    load_shadow(environment, SHADOW)
    with reading(environment) as txn:
        assert txn.policy_files() == LIVE
        assert txn.tenants.revisions(0).policies == 1


def test_the_same_files_are_looked_at_once(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    load_shadow(environment, SHADOW)
    monkeypatch.setattr(shadowing, "checked", None)
    require_shadow(environment, SHADOW)
    load_shadow(environment, SHADOW)
    assert held(environment) == SHADOW


def test_files_that_passed_other_checks_are_looked_at_again_and_go_on(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sidecar.core.policy_files.checked_by", lambda: "an older version")
        load_shadow(environment, SHADOW)
    passed: list[PolicyFiles | None] = []

    def told(own: PolicyFiles, known: PolicyFiles | None) -> CompiledSchema:
        passed.append(known)
        return checked(own, known)

    monkeypatch.setattr(shadowing, "checked", told)
    load_shadow(environment, SHADOW)
    assert passed == [None]
    load_shadow(environment, OTHER)
    assert passed == [None, SHADOW]


def test_bad_files_are_refused_with_their_place_and_the_former_ones_stay(environment: Environment) -> None:
    load_shadow(environment, SHADOW)
    before = rows(environment, "meta")
    for attempt in (require_shadow, load_shadow):
        with pytest.raises(ConfigurationInvalid, match=r"shadow/bad\.cedar:2:"):
            attempt(environment, BAD)
    assert rows(environment, "meta") == before


def test_an_id_that_a_policy_of_the_api_has_is_refused(environment: Environment) -> None:
    with writing(environment) as txn:
        txn.of(a_tenant(1)).policies.add("pol_1", cedar_record("pol_1", PERMIT.format("pol_1/x")), 2, owner=None)
    with pytest.raises(ConfigurationInvalid, match="tenant `t_1`: "):
        load_shadow(environment, files(("shadow/d.cedar", PERMIT.format("pol_1/x"))))
    assert held(environment) is None


@pytest.mark.parametrize("text", ["permit (nothing);", None])
def test_a_start_with_bad_shadow_files_changes_nothing(tmp_path: Path, text: str | None) -> None:
    """Neither makes a first start a store, nor does a later one load new live files."""
    folder = tmp_path / "shadow"
    if text is not None:
        folder.mkdir()
        (folder / "bad.cedar").write_text(text)
    settings = Settings(
        data_dir=tmp_path / "data", policies=ROOT / "policies", schemas=ROOT / "schemas", shadow_policies=folder
    )
    with pytest.raises(ConfigurationInvalid, match="shadow"):
        prepare(settings)
    assert not settings.store.exists()
    prepare(msgspec.structs.replace(settings, shadow_policies=None))
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigurationInvalid, match="shadow"):
        prepare(msgspec.structs.replace(settings, policies=tmp_path / "none"))
    with closing(open_environment(settings.store)) as environment, reading(environment) as txn:
        kept = txn.policy_files()
    assert kept is not None
    assert kept.shared != ()
