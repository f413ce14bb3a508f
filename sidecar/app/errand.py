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
from pathlib import Path
from typing import Final, Literal

import msgspec

from sidecar.app.loading import Trial, Wish, load, strangers
from sidecar.app.shadowing import load_shadow
from sidecar.app.trial import trial_in
from sidecar.core.errors import ConfigurationInvalid, SidecarError
from sidecar.core.snapshot import PolicyFiles
from sidecar.replica.files import read_files
from sidecar.service.policy_store import Outcome
from sidecar.state.environment import Durability, Environment, StoreError, open_environment, translate

CPU_SECONDS_MAX: Final = 900
"""Of processor time: enough for a million policies, and an end to whatever never ends by itself."""

DATA_BYTES_MAX: Final = 4 << 30
"""Memory of its own; the store's map is not part of it."""

AGREE_SECONDS: Final = 0.1
"""Between two looks at the files: who is in the middle of writing them goes on in it."""

LOOKS_MAX: Final = 50
EXIT_ORPHAN: Final = 3


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
    """What came of it; ``unavailable`` says that nothing is known of the files. ``digest`` is of those that hold."""

    outcome: Outcome | Literal["unavailable"]
    reason: str | None = None
    digest: bytes | None = None
    before: bytes | None = None
    files: int = 0
    strangers: tuple[str, ...] = ()


def run(errand: Errand, trial: Trial, wait: Callable[[float], None] = time.sleep) -> Finding:
    """Do an errand; what goes wrong with it is its finding."""
    try:
        files = settled(lambda: read_files(errand.policies, errand.schemas), wait)
        environment = open_environment(errand.store, durability=errand.durability, map_size=errand.map_size)
        with closing(environment):
            done = load(environment, files, trial, Wish(errand.by, errand.content))
            missing = tuple(strangers(environment, files))
            outcome, reason = _with_shadow(environment, errand, done.outcome, wait)
    except ConfigurationInvalid as error:
        return Finding("refused", error.message)
    except StoreError as error:
        return Finding("unavailable", translate(error).message)
    except SidecarError as error:
        return Finding("unavailable", error.message)
    except (OSError, MemoryError) as error:
        return Finding("unavailable", f"the files could not be looked at: {type(error).__name__} {error}".rstrip())
    return Finding(outcome, reason, done.digest, done.before, len(files.all), missing)


def _with_shadow(
    environment: Environment, errand: Errand, outcome: Outcome, wait: Callable[[float], None]
) -> tuple[Outcome, str | None]:
    """Load the shadow policies as well, and return what became of all files, given what became of the live ones.

    Shadow files that may not be loaded keep no live ones back: they are refused by themselves, and the reason says so.
    """
    folder = errand.shadow
    if folder is None:
        return outcome, None
    try:
        changed = load_shadow(environment, settled(lambda: read_files(folder, errand.schemas), wait))
    except ConfigurationInvalid as error:
        reason = f"the shadow policies were refused: {error.message}"
        return ("refused" if outcome == "unchanged" else outcome), reason
    return ("loaded" if changed else outcome), None


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
    errand = msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand, dec_hook=_decode)
    threading.Thread(target=_end_with_asker, daemon=True).start()
    finding = run(errand, trial_in(errand.policies))
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(msgspec.json.encode(finding) + b"\n")
        sys.stdout.buffer.flush()


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
