"""Untrusted policy text is first parsed and validated in a process of its own, which may crash.

Cedar's parser recurses without a limit of its own, so text can end the process that reads it (RELIABILITY 0, rule 11).
A limit on nesting comes first; this is the second wall, for what the first does not know of.
"""

import asyncio
import resource
import sys
from collections.abc import Callable
from typing import Final

import msgspec

from sidecar.core.errors import PolicyInvalid, SidecarError, Unavailable, ValidationFailed
from sidecar.core.policy import compile_schema
from sidecar.core.policy_compilation import compile_statements
from sidecar.core.policy_files import check_files, check_records
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, SourceFile

SECONDS_MAX: Final = 5
"""Of processor time: text that is worth more thought than this is meant to cost it."""

SECONDS_OF_ALL_MAX: Final = 60
"""Of processor time for all policies of a tenant and its files, of which there may be some 16 MiB."""

PATIENCE: Final = 6
"""How many times as long the process may take on a machine that has other things to do; then nothing is known."""

AT_ONCE_MAX: Final = 2
"""Processes of one worker: each is an interpreter of its own, and more would only keep the decisions waiting."""

MEMORY_BYTES_MAX: Final = 1 << 30
_MODULE: Final = "sidecar.replica.vetting"


class Task(msgspec.Struct, frozen=True, tag="text"):
    """What the throw-away process is given: one text."""

    schemas: tuple[SourceFile, ...]
    text: str
    file: str


class WholeTask(msgspec.Struct, frozen=True, tag="all"):
    """What it is given of a control plane: files, those that have passed, and policies with their owners' types."""

    files: PolicyFiles
    passed: PolicyFiles | None
    records: list[tuple[PolicyRecord, str | None]]


class Finding(msgspec.Struct, frozen=True):
    """What it found wrong; ``message`` None for nothing. A line of 0 means that no place is known."""

    message: str | None
    file: str = ""
    line: int = 0
    column: int = 0


class ProcessVetting:
    """Implements ``sidecar.service.policies.Vet``."""

    def __init__(self, schemas: Callable[[], tuple[SourceFile, ...]]) -> None:
        """Validate against what ``schemas`` returns at each call."""
        self._schemas = schemas
        self._turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def __call__(self, text: str, file: str) -> None:
        """Return when the text can be parsed safely.

        Raises PolicyInvalid, or Unavailable when no process can be had.
        """
        task = msgspec.json.encode(Task(self._schemas(), text, file))
        async with self._turns:
            found = await _vetted(task, SECONDS_MAX)
        if found is None:
            raise PolicyInvalid("cannot be parsed safely", file=file, line=1, column=1, field="cedar")
        _raise(found)


class FeedVetting:
    """Implements ``sidecar.service.following_policies.VetPolicies``."""

    async def __call__(
        self, files: PolicyFiles, passed: PolicyFiles | None, records: list[tuple[PolicyRecord, str | None]]
    ) -> None:
        """Return when all may hold. Raises PolicyInvalid, ValidationFailed, Unavailable when no process can be had."""
        found = await _vetted(msgspec.json.encode(WholeTask(files, passed, records)), SECONDS_OF_ALL_MAX)
        if found is None:
            raise ValidationFailed("the policies of the control plane cannot be parsed safely")
        _raise(found)


async def _vetted(task: bytes, seconds: int) -> Finding | None:
    """Return what the process finds, None when it crashes. Raises Unavailable when nothing is known."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _MODULE,
            str(seconds),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        raise Unavailable("no process could be started to check the policy in") from error
    try:
        output, _ = await asyncio.wait_for(process.communicate(task), PATIENCE * seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise Unavailable("the policy could not be checked in time, try again") from None
    return None if process.returncode != 0 else msgspec.json.decode(output, type=Finding)


def _raise(finding: Finding) -> None:
    if finding.message is None:
        return
    if finding.line:
        raise PolicyInvalid(finding.message, file=finding.file, line=finding.line, column=finding.column, field="cedar")
    raise ValidationFailed(finding.message, field="cedar")


def vet(task: Task | WholeTask) -> Finding:
    """Parse and validate; called in the throw-away process."""
    try:
        if isinstance(task, WholeTask):
            check_records(task.records, check_files(task.files, task.passed))
        else:
            schema = compile_schema(tuple((schema.path, schema.text) for schema in task.schemas))
            compile_statements(task.text, task.file, schema, shared=False)
    except PolicyInvalid as error:
        prefix = f"{error.file}:{error.line}:{error.column}: "
        return Finding(error.message.removeprefix(prefix), error.file, error.line, error.column)
    except SidecarError as error:
        return Finding(error.message)
    return Finding(None)


def main() -> None:
    """Read a task from standard input, write the finding to standard output."""
    seconds = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task | WholeTask)
    sys.stdout.buffer.write(msgspec.json.encode(vet(task)))


if __name__ == "__main__":
    main()
