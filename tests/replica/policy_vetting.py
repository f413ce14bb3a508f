"""Policies checked in this process, for tests whose policies cannot crash it: a process for each costs too much."""

from sidecar.core.policy import CompiledSchema
from sidecar.core.policy_files import check_files
from sidecar.core.snapshot import PolicyFiles, PolicyRecord, compile_record


class VettingHere:
    """Checks what the process of its own does, and remembers files that passed."""

    def __init__(self) -> None:
        """Know no files."""
        self._schemas: dict[bytes, CompiledSchema] = {}

    async def __call__(
        self, files: PolicyFiles, passed: PolicyFiles | None, records: list[tuple[PolicyRecord, str | None]]
    ) -> None:
        """Return when all may hold. Raises PolicyInvalid and ValidationFailed."""
        digest = files.digest()
        if digest not in self._schemas:
            self._schemas[digest] = check_files(files, passed)
        for record, owner_type in records:
            compile_record(record, self._schemas[digest], owner_type, lambda _file: None)
