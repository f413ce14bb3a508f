"""A log as a folder that can be carried away: written from any history, and read as one.

``manifest.json`` says what it is; ``entries.ndjson`` has the bodies of the records as they lie, one a line;
``facts.ndjson`` has each fact that a record refers to, once, in the order in which the records name them: the hash
first, at a fixed place, then the content. The same history gives the same bytes, but for ``made_at``. A folder is
written beside its place and put there whole. Reading believes nothing of the manifest but how much must be there: the
chain and the facts are checked by whoever takes the history.
"""

import os
import shutil
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec
import orjson

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed
from sidecar.core.history import digest, read_event
from sidecar.core.instants import utc_text
from sidecar.core.log_entries import digest_of, text_of
from sidecar.core.references import addresses, inner_addresses
from sidecar.service.chronicle import Chronicle

FORMAT: Final = 1
"""Version of the folder; a reader refuses one it does not know."""

MANIFEST: Final = "manifest.json"
ENTRIES: Final = "entries.ndjson"
FACTS: Final = "facts.ndjson"
CHUNK: Final = 1_000
"""Records after which is told how far the work has come."""

_HASH: Final = slice(len(b'{"hash":"'), len(b'{"hash":"') + 43)
"""Where a line of facts has its hash."""


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a folder says of itself; ``head_hash`` is the link of record ``head_seq``, the last one."""

    format: int
    tenant_id: str
    origin: str
    head_seq: int
    head_hash: str
    entries: int
    facts: int
    facts_missing: int
    made_at: str


class _Format(msgspec.Struct):
    format: int


class _Fact(msgspec.Struct):
    hash: str
    content: str | None = None
    base64: str | None = None


class _Line(Protocol):
    def write(self, data: bytes, /) -> int:
        """Take one line."""


class Written(msgspec.Struct, frozen=True):
    """How much an export has."""

    tenant_id: str
    entries: int
    facts: int
    facts_missing: int


def write_exports(
    chronicles: list[Chronicle], target: Path, now_us: int, told: Callable[[str, int], object]
) -> list[Written]:
    """Write a folder per history into ``target``, all or nothing; ``told`` hears how many records are done.

    Raises ConfigurationInvalid where ``target`` exists, ValidationFailed naming a record that cannot be read.
    """
    if target.exists() or target.is_symlink():
        raise ConfigurationInvalid(f"`{target}` exists already, expected a folder to be made")
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    beside.mkdir(parents=True)
    try:
        written = [_write(each, beside / each.tenant_id, now_us, told) for each in chronicles]
        beside.rename(target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return written


def _write(chronicle: Chronicle, folder: Path, now_us: int, told: Callable[[str, int], object]) -> Written:
    folder.mkdir()
    with (folder / ENTRIES).open("wb") as entries, (folder / FACTS).open("wb") as facts:
        gathered = _Gathered(chronicle, facts)
        for seq, body in chronicle.entries():
            entries.write(body + b"\n")
            try:
                gathered.take(seq, body)
            except ValidationFailed as error:
                raise ValidationFailed(f"{chronicle.place(seq)}: {error.message}") from error
            if seq % CHUNK == 0:
                told(chronicle.tenant_id, seq)
        for file in (entries, facts):
            file.flush()
            os.fsync(file.fileno())
    manifest = ExportManifest(
        format=FORMAT,
        tenant_id=chronicle.tenant_id,
        origin=chronicle.origin,
        head_seq=chronicle.size - 1,
        head_hash=text_of(chronicle.link),
        entries=chronicle.size,
        facts=gathered.kept,
        facts_missing=gathered.missing,
        made_at=utc_text(now_us),
    )
    text = orjson.dumps(msgspec.to_builtins(manifest), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    (folder / MANIFEST).write_bytes(text + b"\n")
    told(chronicle.tenant_id, chronicle.size)
    return Written(chronicle.tenant_id, chronicle.size, gathered.kept, gathered.missing)


class _Gathered:
    """The facts of a log, each written when it is named first."""

    def __init__(self, chronicle: Chronicle, file: _Line) -> None:
        self._chronicle = chronicle
        self._file = file
        self._seen: set[bytes] = set()
        self.kept = 0
        self.missing = 0

    def take(self, seq: int, body: bytes) -> None:
        event = read_event(body)
        for address in addresses(event):
            content = self._add(address, seq)
            for inner in () if content is None else inner_addresses(event, address, content):
                self._add(inner, seq)

    def _add(self, address: str, seq: int) -> bytes | None:
        """Write a fact unless it was written before; returns its bytes when it was not."""
        wanted = digest(address)
        if wanted in self._seen:
            return None
        self._seen.add(wanted)
        content = self._chronicle.fact(wanted, seq)
        if content is None:
            self.missing += 1
            return None
        self.kept += 1
        self._file.write(_line(address, content))
        return content


def _line(address: str, content: bytes) -> bytes:
    try:
        told = {"hash": address, "content": content.decode()}
    except UnicodeDecodeError:  # a changed fact: carried as it is, so that a reader can name it
        told = {"hash": address, "base64": b64encode(content).decode()}
    return orjson.dumps(told) + b"\n"


class ExportedChronicle:
    """One folder as a history; implements ``sidecar.service.chronicle.Chronicle``."""

    def __init__(self, folder: Path) -> None:
        """Read the manifest and where each fact lies.

        Raises ConfigurationInvalid, naming file and line, for a folder that is none, is not whole, or of another
        format.
        """
        manifest = _manifest(folder / MANIFEST)
        self._entries = folder / ENTRIES
        self.tenant_id = manifest.tenant_id
        self.origin = manifest.origin
        self.size = manifest.entries
        link = digest_of(manifest.head_hash)
        if link is None or manifest.head_seq != manifest.entries - 1:
            raise ConfigurationInvalid(
                f"`{folder / MANIFEST}`: `head_hash`, `head_seq` and `entries` do not go together"
            )
        self.link = link
        self._facts = folder / FACTS
        self._places = _places(self._facts, manifest.facts)

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield the records from the first on. Raises ConfigurationInvalid where the file ends too soon or too late."""
        read = 0
        with _opened(self._entries) as file:
            for seq, line in enumerate(file):
                if seq == self.size:
                    raise ConfigurationInvalid(f"{self.place(seq)}: more records than the {self.size} of the manifest")
                if not line.endswith(b"\n"):
                    raise ConfigurationInvalid(f"{self.place(seq)}: the line is cut off, the export is not whole")
                yield seq, line[:-1]
                read = seq + 1
        if read < self.size:
            raise ConfigurationInvalid(f"{self.place(read)}: the export ends here, expected {self.size} records")

    def fact(self, digest: bytes, _seq: int) -> bytes | None:
        """Return the bytes of a fact, None when the export does not have it."""
        place = self._places.get(digest)
        if place is None:
            return None
        number, offset = place
        with _opened(self._facts) as file:
            file.seek(offset)
            line = file.readline()
        try:
            fact = msgspec.json.decode(line, type=_Fact)
            return b64decode(fact.base64) if fact.base64 is not None else (fact.content or "").encode()
        except ValueError as error:  # no JSON, no base64, or half a character
            raise ConfigurationInvalid(f"`{self._facts}:{number}`: no fact can be read: {error}") from error

    def place(self, seq: int) -> str:
        """Return where record ``seq`` lies, as messages name it."""
        return f"`{self._entries}:{seq + 1}`"


def exported(folder: Path, tenant_id: str | None) -> list[ExportedChronicle]:
    """Return the histories of an export, or the one of ``tenant_id``; ``folder`` may be that of one tenant as well.

    Raises ConfigurationInvalid as ``ExportedChronicle`` does, where there is none, and where a tenant has two.
    """
    if not folder.is_dir():
        raise ConfigurationInvalid(f"`{folder}` is no folder, expected an export")
    folders = [folder] if (folder / MANIFEST).is_file() else sorted(each for each in folder.iterdir() if each.is_dir())
    found = [ExportedChronicle(each) for each in folders]
    own: dict[str, Path] = {}
    for place, each in zip(folders, found, strict=True):
        if each.tenant_id in own:
            raise ConfigurationInvalid(
                f"`{own[each.tenant_id]}` and `{place}` are both of tenant `{each.tenant_id}`, expected one"
            )
        own[each.tenant_id] = place
    chosen = [each for each in found if tenant_id in {None, each.tenant_id}]
    if not found:
        raise ConfigurationInvalid(f"`{folder}` holds no export, expected a folder per tenant with a `{MANIFEST}`")
    if not chosen:
        raise ConfigurationInvalid(f"the export has no tenant `{tenant_id}`")
    return chosen


def _manifest(path: Path) -> ExportManifest:
    content = _read(path)
    try:
        version = msgspec.json.decode(content, type=_Format).format
        if version == FORMAT:
            return msgspec.json.decode(content, type=ExportManifest)
    except msgspec.DecodeError as error:
        raise ConfigurationInvalid(f"`{path}` cannot be read: {error}") from error
    raise ConfigurationInvalid(f"`{path}:1`: an export of format `{version}`, expected {FORMAT}")


def _places(path: Path, count: int) -> dict[bytes, tuple[int, int]]:
    """Return line and offset of each fact by its hash. Raises ConfigurationInvalid for a file that is not whole."""
    found: dict[bytes, tuple[int, int]] = {}
    offset = number = 0
    with _opened(path) as file:
        for number, line in enumerate(file, start=1):
            address = digest_of(line[_HASH].decode(errors="replace"))
            if address is None or not line.endswith(b"}\n"):
                raise ConfigurationInvalid(
                    f"`{path}:{number}`: the line is no whole fact, the export was cut or changed"
                )
            found[address] = number, offset
            offset += len(line)
    if number != count:
        raise ConfigurationInvalid(f"`{path}:{number + 1}`: {number} facts, expected {count}: the export is not whole")
    return found


def _read(path: Path) -> bytes:
    with _opened(path) as file:
        return file.read()


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationInvalid(f"`{path}` cannot be read: {error.strerror}") from error
