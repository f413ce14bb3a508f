"""The main module of the process that loads policy files beside a running server: one errand, one line, and its end.

What it reads was not checked by anybody, and may crash or keep busy whoever parses it: so no worker does. It reads the
files until two looks agree, checks them, runs their tests, and switches the store over to them itself. The errand comes
as a line of JSON on standard input, which then stays open: when it ends, whoever wanted the files is gone, and so is
this process, before it has switched or after. The answer is one line of JSON on standard output.
"""

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from sidecar.app.loading import Trial, Wish, load, strangers
from sidecar.app.shadowing import load_shadow
from sidecar.app.trial import trial_in
from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.files import read_files, read_policies
from sidecar.service.policy_store import Outcome
from sidecar.state.environment import Durability, Environment, StoreError, open_environment, translate

CPU_SECONDS_MAX: Final = 900
"""Of processor time: enough for whatever fits into the memory, and an end to what never ends by itself."""

DATA_BYTES_MAX: Final = 4 << 30
"""Memory of its own; the store's map is not part of it."""

AGREE_SECONDS: Final = 0.1
"""Between two looks at the files: who is in the middle of writing them goes on in it."""

LOOKS_MAX: Final = 50
EXIT_ORPHAN: Final = 3

REASON_CHARACTERS_MAX: Final = 2_000
"""A reason quotes from the files, in which a name has no bound, and is stored, logged and shown by ``/readyz``."""

UNTRIED: Final = b""
"""Stands for no content of any folder, so that whatever lies there is tried."""

FAULTS: Final = (StoreError, SidecarError, OSError, MemoryError)
"""What ends an errand and is a finding."""


class Errand(msgspec.Struct, frozen=True):
    """What is to be loaded from where, for whom; ``content`` is the digest of the folders as the watcher saw them.

    ``shadow`` is the folder of the shadow policies, None for none.
    """

    policies: Path
    schemas: Path
    store: Path
    durability: Durability
    map_size: int
    by: str
    content: bytes
    shadow: Path | None = None


class Finding(msgspec.Struct, frozen=True):
    """What came of it; ``unavailable`` says that nothing is known of the files. ``digest`` is of those that hold.

    ``shadow`` is the digest of shadow files that were loaded, None where none were. ``is_whole`` says that all files
    were looked at: where it is not so, they are to be tried again as they are. Of files that were loaded, ``reason``
    says why the shadow files among them were not.
    """

    outcome: Outcome | Literal["unavailable"]
    reason: str | None = None
    digest: bytes | None = None
    before: bytes | None = None
    files: int = 0
    strangers: tuple[str, ...] = ()
    shadow: bytes | None = None
    is_whole: bool = True


def run(errand: Errand, trial: Trial, wait: Callable[[float], None] = time.sleep) -> Finding:
    """Do an errand; what goes wrong with it is its finding."""
    try:
        files = settled(lambda: read_files(errand.policies, errand.schemas), wait)
        environment = open_environment(errand.store, durability=errand.durability, map_size=errand.map_size)
        with closing(environment):
            missing = tuple(strangers(environment, files))
            # With shadow files to come, the content counts as tried only when they were looked at too.
            content = errand.content if errand.shadow is None else UNTRIED
            done = load(environment, files, trial, Wish(errand.by, content))
            found = Finding(done.outcome, None, done.digest, done.before, len(files.all), missing)
            if errand.shadow is None:
                return found
            return _with_shadow(environment, found, partial(_shadow_files, errand.shadow, files), wait)
    except FAULTS as error:
        return _fault(error)


def _fault(error: Exception) -> Finding:
    """Return what an error says of the files."""
    if isinstance(error, ConfigurationInvalid):
        return Finding("refused", _short(error.message))
    if isinstance(error, StoreError):
        return Finding("unavailable", translate(error).message)
    if isinstance(error, SidecarError):
        return Finding("unavailable", error.message)
    return Finding("unavailable", f"the files could not be looked at: {type(error).__name__} {error}".rstrip())


def _short(reason: str) -> str:
    return reason if len(reason) <= REASON_CHARACTERS_MAX else reason[:REASON_CHARACTERS_MAX] + "…"


def _shadow_files(folder: Path, live: PolicyFiles) -> PolicyFiles:
    """Return the shadow files; the schema is the one that the live files were checked with, whatever came since."""
    return msgspec.structs.replace(read_policies(folder), schemas=live.schemas)


def _with_shadow(
    environment: Environment, found: Finding, read: Callable[[], PolicyFiles], wait: Callable[[float], None]
) -> Finding:
    """Load the shadow policies as well, and return what became of all files, ``found`` being that of the live ones.

    Shadow files that may not be loaded keep no live ones back: they are refused by themselves, and the reason says so.
    """
    try:
        files = settled(read, wait)
        if load_shadow(environment, files):
            return msgspec.structs.replace(found, outcome="loaded", shadow=files.digest())
    except FAULTS as error:
        fault = _fault(error)
        is_whole = fault.outcome == "refused"
        reason = f"the shadow policies were {'refused' if is_whole else 'not loaded'}: {fault.reason}"
        outcome = found.outcome if found.outcome == "loaded" else fault.outcome
        return msgspec.structs.replace(found, outcome=outcome, reason=reason, is_whole=is_whole)
    return found


def settled(read: Callable[[], PolicyFiles], wait: Callable[[float], None]) -> PolicyFiles:
    """Return files of which two looks agree. Raises ConfigurationInvalid where they cannot be read or never agree."""
    last = read()
    for _ in range(LOOKS_MAX):
        wait(AGREE_SECONDS)
        files = read()
        if files == last:
            return files
        last = files
    raise ConfigurationInvalid("the files change all the time, expected two looks at them that agree")


def main() -> None:
    """Do the errand on standard input and answer on standard output."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS_MAX, CPU_SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES_MAX, DATA_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answer = _kept_output()
    errand = msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand, dec_hook=_decode)
    threading.Thread(target=_end_with_asker, daemon=True).start()
    finding = run(errand, trial_in(errand.policies))
    with suppress(BrokenPipeError), os.fdopen(answer, "wb") as output:
        output.write(msgspec.json.encode(finding) + b"\n")


def _kept_output() -> int:
    """Return a descriptor of standard output for the answer, and send whatever else is printed to standard error."""
    answer = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answer


def _decode(wanted: type, value: object) -> object:
    if wanted is Path:
        return Path(str(value))
    raise NotImplementedError


def _end_with_asker() -> None:
    """Wait for the end of standard input, which only the asker's end brings, then end this process at once."""
    # The lock that both hold is let go with this process: a server that starts anew waits for that.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(EXIT_ORPHAN)


if __name__ == "__main__":
    main()
