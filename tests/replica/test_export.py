"""An export is the log it was made from, and says where it is not whole."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.replica.export import ENTRIES, FACTS, MANIFEST, exported, write_exports
from sidecar.service.chain_proof import verify_chain
from tests.service.builders import NOON, World, payment, shipped_files, tool_call
from tests.service.histories import Doctored, Life, chronicle, prove, retried


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "store") as made:
        yield made


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """The export of a tenant with all sorts of records."""
    Life(world, 11).live(100)
    world.found("t_two")
    write_exports([chronicle(world), chronicle(world, "t_two")], tmp_path / "out", NOON, lambda _tenant, _done: None)
    return tmp_path / "out"


def test_an_export_is_proven_as_its_log_is(world: World, folder: Path) -> None:
    """Records as they lie, every fact once; one tenant's folder is an export as well."""
    one, two = exported(folder, None)
    assert (one.tenant_id, two.tenant_id) == ("t_one", "t_two")
    assert list(one.entries()) == list(chronicle(world).entries())
    assert verify_chain(one, lambda _: None).fault is None
    assert prove(one) == prove(chronicle(world))
    assert prove(one).missing_count == 0
    assert retried(one, shipped_files()) == retried(chronicle(world), shipped_files())
    assert [each.tenant_id for each in exported(folder / "t_two", None)] == ["t_two"]
    manifest = orjson.loads((folder / "t_one" / MANIFEST).read_bytes())
    lines = (folder / "t_one" / FACTS).read_bytes().splitlines()
    assert manifest["facts"] == len({orjson.loads(line)["hash"] for line in lines}) == len(lines)
    assert manifest["head_seq"] == manifest["entries"] - 1 == len(world.kinds()) - 1
    assert manifest["format"] == 1


def test_the_same_history_gives_the_same_bytes(world: World, folder: Path, tmp_path: Path) -> None:
    """An export of an export as well."""
    write_exports(list(exported(folder, "t_one")), tmp_path / "again", NOON, lambda _tenant, _done: None)
    for name in (MANIFEST, ENTRIES, FACTS):
        assert (tmp_path / "again" / "t_one" / name).read_bytes() == (folder / "t_one" / name).read_bytes()
    assert world.kinds()


def test_erased_facts_are_counted(world: World, tmp_path: Path) -> None:
    """And missing for whoever reads the export; bytes that are no text are carried as they are."""
    world.tenant()
    world.decide(payment())
    world.decide(tool_call())
    first, second = (body for body in world.bodies() if body["type"] == "decision")
    gone = Doctored(chronicle(world), erased={str(first["request"])}, changed={str(second["request"]): b"\xff"})
    (written,) = write_exports([gone], tmp_path / "out", NOON, lambda _tenant, _done: None)
    assert written.facts_missing == 1
    (found,) = exported(tmp_path / "out", None)
    assert found.fact(hashlib.sha256(b"never").digest(), 0) is None
    proof = prove(found)
    assert [each.what for each in proof.missing] == ["the request"]
    assert proof.difference is not None
    assert proof.difference.seq == second["i"]


def test_nothing_is_left_of_an_export_that_failed(world: World, tmp_path: Path) -> None:
    """A record that cannot be read is named; a target that exists is refused."""
    world.tenant()

    def edit(record: dict[str, object]) -> None:
        if record["i"] == 2:
            record["type"] = 5

    with pytest.raises(ValidationFailed, match="record 2 of tenant `t_one`: the record cannot be read"):
        write_exports([Doctored(chronicle(world), edit=edit)], tmp_path / "out", NOON, lambda _tenant, _done: None)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["store"]
    with pytest.raises(ConfigurationInvalid, match="exists already"):
        write_exports([chronicle(world)], tmp_path / "store", NOON, lambda _tenant, _done: None)


def test_two_exports_of_one_tenant_are_refused(folder: Path) -> None:
    """Nobody could say which of them is meant."""
    shutil.copytree(folder / "t_one", folder / "copy")
    with pytest.raises(ConfigurationInvalid, match=r"copy` and `.*t_one` are both of tenant `t_one`, expected one"):
        exported(folder, None)


def damaged(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def test_an_export_that_was_cut_says_where(folder: Path) -> None:
    """In the middle of a line, or after one; in records or in facts."""
    entries, facts = folder / "t_one" / ENTRIES, folder / "t_one" / FACTS
    whole, lines = entries.read_bytes(), entries.read_bytes().count(b"\n")
    damaged(entries, lambda data: data[:-10])
    with pytest.raises(ConfigurationInvalid, match=rf"{ENTRIES}:{lines}`: the line is cut off"):
        prove(exported(folder, "t_one")[0])
    entries.write_bytes(b"".join(whole.splitlines(keepends=True)[:-3]))
    with pytest.raises(ConfigurationInvalid, match=rf"{ENTRIES}:{lines - 2}`: the export ends here, expected {lines}"):
        prove(exported(folder, "t_one")[0])
    entries.write_bytes(whole + whole.splitlines(keepends=True)[-1])
    with pytest.raises(ConfigurationInvalid, match=rf"{ENTRIES}:{lines + 1}`: more records than the {lines}"):
        prove(exported(folder, "t_one")[0])
    entries.write_bytes(b"")
    with pytest.raises(ConfigurationInvalid, match=rf"{ENTRIES}:1`: the export ends here"):
        prove(exported(folder, "t_one")[0])
    count, stored = facts.read_bytes().count(b"\n"), facts.read_bytes()
    damaged(facts, lambda data: data[:-10])
    with pytest.raises(ConfigurationInvalid, match=rf"{FACTS}:{count}`: the line is no whole fact"):
        exported(folder, "t_one")
    facts.write_bytes(b"".join(stored.splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigurationInvalid, match=rf"{FACTS}:{count}`: {count - 1} facts, expected {count}"):
        exported(folder, "t_one")


def test_an_export_that_was_changed_is_found_out(folder: Path) -> None:
    """A record breaks the chain, a fact its hash, and a line that is no JSON is named."""
    entries, facts = folder / "t_one" / ENTRIES, folder / "t_one" / FACTS
    whole = entries.read_bytes()
    damaged(entries, lambda data: data.replace(b'"by":"operator"', b'"by":"Operator"', 1))
    fault = verify_chain(exported(folder, "t_one")[0], lambda _: None).fault
    assert fault is not None
    assert "was changed" in fault.sentence
    entries.write_bytes(whole)
    request = next(orjson.loads(line) for line in whole.splitlines() if b'"type":"decision"' in line)["request"]
    stored = facts.read_bytes()
    line = next(line for line in stored.splitlines() if request.encode() in line)
    facts.write_bytes(stored.replace(line, line.replace(b"ttl_seconds", b"ttl_SECONDS")))
    difference = prove(exported(folder, "t_one")[0]).difference
    assert difference is not None
    assert "its content has another hash" in difference.sentence
    for rest in (b" oops}", b',"base64":"a"}', b',"content":"\\ud800"}'):
        facts.write_bytes(stored.replace(line, line[: len(b'{"hash":""') + 43] + rest))
        with pytest.raises(ConfigurationInvalid, match=rf"{FACTS}:\d+`: no fact can be read"):
            prove(exported(folder, "t_one")[0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda _: b"{", "cannot be read"),
        (lambda _: b"{}", "cannot be read"),
        (lambda data: data.replace(b'"format": 1', b'"format": 2'), r"manifest.json:1`: an export of format `2`, exp"),
        (lambda data: data.replace(b'"head_hash": "', b'"head_hash": "!'), "do not go together"),
        (lambda data: data.replace(b'"head_seq": ', b'"head_seq": 9'), "do not go together"),
        (lambda data: data.replace(b'"origin"', b'"other"'), "cannot be read"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, change: Callable[[bytes], bytes], sentence: str) -> None:
    damaged(folder / "t_one" / MANIFEST, change)
    with pytest.raises(ConfigurationInvalid, match=sentence):
        exported(folder, None)


def test_what_is_no_export_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationInvalid, match="holds no export"):
        exported(tmp_path / "empty", None)
    with pytest.raises(ConfigurationInvalid, match="is no folder, expected an export"):
        exported(tmp_path / "nothing", None)
    with pytest.raises(ConfigurationInvalid, match="the export has no tenant `t_no`"):
        exported(folder, "t_no")
    (folder / "t_one" / FACTS).unlink()
    with pytest.raises(ConfigurationInvalid, match="cannot be read: No such file"):
        exported(folder, None)
