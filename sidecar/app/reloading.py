"""Policy files loaded beside the running server: one at a time over all workers, each in a process of its own.

That process (``sidecar.app.errand``) reads files that nobody has checked, and switches the store over by itself; this
worker only waits, passes the turnstile meanwhile, and tells what came of it: in the log, in metrics, in the store for
every worker's ``/readyz``, and to all tenants. The lock is inherited by the process, so that nobody loads other files
before it has ended, whatever becomes of this worker.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sidecar.app.errand import UNTRIED, Errand, Finding
from sidecar.app.locks import LOCK_POLL_SECONDS, RELOAD_LOCK, try_lock
from sidecar.core.errors import Unavailable
from sidecar.replica.watched import content_of
from sidecar.service.announcement import Announcer
from sidecar.service.policy_store import LastReload, Outcome, Tried
from sidecar.service.reload import Reloaded, revision_of
from sidecar.settings import Settings
from sidecar.state.store import LmdbStore

log: Final = structlog.get_logger("sidecar.reload")

COMMAND: Final = (sys.executable, "-m", "sidecar.app.errand")

ANSWER_BYTES_MAX: Final = 1 << 26
"""Of the process: a finding names every folder that no tenant has, and there may be a hundred thousand."""

PATIENCE_SECONDS: Final = 1_800.0
"""How long the process may take, whatever it waits for; its processor time has a limit of its own."""


class Reloader:
    """Implements ``sidecar.service.reload.Load`` in one worker."""

    def __init__(
        self,
        settings: Settings,
        store: LmdbStore,
        announcer: Announcer,
        clock: Callable[[], int],
        count: Callable[[str], None],
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        """Load what ``settings`` name; ``count`` is told each outcome, ``command`` is what does an errand."""
        self._settings = settings
        self._store = store
        self._announcer = announcer
        self._clock = clock
        self._count = count
        self._command = command
        self._turn = asyncio.Lock()

    async def __call__(self, by: str) -> Reloaded:
        """Load the policy files as they lie there now, and return what became of them.

        Raises Unavailable, with nothing changed, where there is no room or no process; and where the process ended
        without an answer although the files had nothing to do with it.
        """
        async with self._turn:
            try:
                self._store.require_room()
                lock = await _locked(self._settings.data_dir / RELOAD_LOCK)
                try:
                    with self._store.beside_others():
                        return await self._load(by, lock)
                finally:
                    os.close(lock)
            except Unavailable as error:
                self._count("unavailable")
                log.warning("policy_files_not_looked_at", by=by, reason=error.message)
                raise

    async def _load(self, by: str, lock: int) -> Reloaded:
        began = time.monotonic()
        before, shadow_before = self._digests()
        # Before the process reads them: what is written in between is found to differ by the next look.
        content = await asyncio.to_thread(content_of, self._settings.policy_folders)
        finding = self._judged(await self._found(self._errand(by, content), lock), before, shadow_before)
        if finding.outcome == "unavailable":
            raise Unavailable(f"the policy files could not be loaded: {finding.reason}")
        seconds = time.monotonic() - began
        await self._note(finding.outcome, finding.reason, by, content if finding.is_whole else UNTRIED)
        self._tell(finding, finding.outcome, by, seconds)
        if finding.outcome == "loaded":
            while await self._announcer.announce_some(self._clock()):
                pass
        return Reloaded(
            finding.outcome, _revision(self._digests()[0]), _revision(before), finding.files, seconds, finding.reason
        )

    def _digests(self) -> tuple[bytes | None, bytes | None]:
        """Return what stands for the live files and for the shadow files as they are loaded now."""
        with self._store.read() as txn:
            return txn.policy_files_digest(), txn.shadow_files.digest()

    def _errand(self, by: str, content: bytes) -> bytes:
        own = self._settings
        errand = Errand(
            own.policies, own.schemas, own.store, own.durability, own.map_size, by, content, own.shadow_policies
        )
        return msgspec.json.encode(errand, enc_hook=str) + b"\n"

    async def _found(self, errand: bytes, lock: int) -> Finding | int:
        """Return what the process found, or how it ended without finding anything."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=True,  # a signal to the group of the server is none to it
                limit=ANSWER_BYTES_MAX,
            )
        except OSError as error:
            raise Unavailable("no process could be started to load the policy files in") from error
        try:
            return await asyncio.wait_for(_answer(process, errand), PATIENCE_SECONDS)
        except TimeoutError:
            raise Unavailable(f"the policy files were not loaded within {PATIENCE_SECONDS} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    def _judged(self, found: Finding | int, before: bytes | None, shadow_before: bytes | None) -> Finding:
        """Return the finding; of a process that ended without any, what the store and its end tell.

        Live files come first, so where they were loaded and no shadow files were, these may have ended it.
        """
        if isinstance(found, Finding):
            return found
        how = f"signal {-found}" if found < 0 else f"exit code {found}"
        reason = f"the process that checked the files ended with {how}, they cannot be read safely"
        digest, shadow = self._digests()
        if shadow != shadow_before:
            return Finding("loaded", None, digest, before, shadow=shadow)
        if digest == before:
            return Finding("refused", reason)
        has_shadow = self._settings.shadow_policies is not None
        return Finding("loaded", f"the shadow policies were refused: {reason}" if has_shadow else None, digest, before)

    async def _note(self, outcome: Outcome, reason: str | None, by: str, content: bytes) -> None:
        last = LastReload(self._clock(), outcome, by, reason)
        await self._store.write(lambda txn: txn.keep_policies_tried(Tried(content, last)))

    def _tell(self, finding: Finding, outcome: Outcome, by: str, seconds: float) -> None:
        self._count(outcome)
        for tenant_id in finding.strangers:
            log.warning("policy_folder_without_tenant", tenant_id=tenant_id)
        said = {"by": by, "seconds": round(seconds, 3)}
        if outcome == "refused":
            log.warning("policy_files_refused", reason=finding.reason, **said)
        elif outcome == "loaded":
            if finding.digest is not None and finding.digest != finding.before:
                log.info("policy_files_loaded", files=finding.files, digest=finding.digest.hex(), **said)
            if finding.shadow is not None:
                log.info("shadow_files_loaded", digest=finding.shadow.hex(), **said)
            if finding.reason is not None:
                log.warning("shadow_files_refused", reason=finding.reason, **said)
        else:
            log.info("policy_files_unchanged", files=finding.files, **said)


async def _answer(process: asyncio.subprocess.Process, errand: bytes) -> Finding | int:
    """Give the errand and return what is answered; standard input stays open until then."""
    if process.stdin is None or process.stdout is None:
        raise Unavailable("the process that loads the policy files has no pipes")
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(errand)
        await process.stdin.drain()
    line = await process.stdout.readline()
    if line.endswith(b"\n"):  # else it was killed while it wrote
        return msgspec.json.decode(line, type=Finding)
    return await process.wait()


async def _locked(path: Path) -> int:
    """Wait for the lock under which policy files are loaded, and return its descriptor."""
    while (descriptor := try_lock(path)) is None:  # noqa: ASYNC110 -- another process lets go of it, no event tells
        await asyncio.sleep(LOCK_POLL_SECONDS)
    return descriptor


def _revision(digest: bytes | None) -> str | None:
    return None if digest is None else revision_of(digest)
