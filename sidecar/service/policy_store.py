"""What the use cases need of a store where policies are concerned: the files that hold, and what was read out of each.

A reading is what ``sidecar.core.policy`` found in a text, kept so that no worker has to parse the texts of a tenant
before its first decision. It is found by path and text and by the version of the code that reads, so one that is found
is what reading the text anew would give; where none is found, the text is read.
"""

from typing import Protocol

from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import PolicyFiles, SourceFile


class Readings(Protocol):
    """What was read out of policy files and of policies made by the API."""

    def of(self, file: SourceFile) -> tuple[PolicyUnit, ...] | None:
        """Return what was read out of a text by this version, None where nobody did."""

    def keep(self, file: SourceFile, units: tuple[PolicyUnit, ...]) -> None:
        """Keep what this version has read out of a text that has passed all checks."""

    def forget(self, file: SourceFile) -> None:
        """Forget what was read out of a text."""


class ShadowFiles(Protocol):
    """The policy files that decisions are compared with and that decide nothing."""

    def get(self) -> PolicyFiles | None:
        """Return the shadow files, None where none are loaded."""

    def digest(self) -> bytes | None:
        """Return what stands for exactly the shadow files, None where none are loaded."""


class PolicyStore(Protocol):
    """The part of a transaction that belongs to policies."""

    @property
    def readings(self) -> Readings:
        """What was read out of policies."""

    @property
    def shadow_files(self) -> ShadowFiles:
        """The shadow files."""

    def policy_files(self) -> PolicyFiles | None:
        """Return the policy files that hold, None before the first load."""

    def policy_files_digest(self) -> bytes | None:
        """Return what stands for exactly the policy files that hold, None before the first load."""

    def keep_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files, keep their texts as facts for all tenants, and raise the deployment's revision."""
