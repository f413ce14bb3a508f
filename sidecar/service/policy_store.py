"""What the use cases need of a store where policies are concerned: the files that hold, and what was read out of each.

A reading is what ``sidecar.core.policy`` found in a text, kept so that no worker has to parse the texts of a tenant
before its first decision. It is found by path and text and by the version of the code that reads, so one that is found
is what reading the text anew would give; where none is found, the text is read.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol

import msgspec

from sidecar.core.policy_unit import PolicyUnit
from sidecar.core.snapshot import PolicyFiles, SourceFile

Outcome = Literal["loaded", "unchanged", "refused"]
"""What became of files that were to be loaded; refused ones leave those in force that were."""


class PoliciesLoaded(msgspec.Struct, frozen=True):
    """Policy files took the place of others: which, how many, by whose wish and when.

    ``number`` counts them together with other notices, tenants below the number ``tenants_below`` were there then;
    both are 0 before it is kept.
    """

    digest: bytes
    files: int
    by: str
    at_us: int
    number: int = 0
    tenants_below: int = 0

    @property
    def revision(self) -> str:
        """What names exactly these files."""
        return f"sha256:{self.digest.hex()}"


class LastReload(msgspec.Struct, frozen=True):
    """How the newest reload since the start ended.

    ``reason`` says why files were refused, or of those that were loaded, why the shadow files among them were not.
    """

    at_us: int
    outcome: Outcome
    by: str
    reason: str | None = None


class Tried(msgspec.Struct, frozen=True):
    """What was tried last: the content of the watched folders, by a digest, and how it ended (None: at the start)."""

    content: bytes
    last: LastReload | None = None


class Untold(NamedTuple):
    """A load of policy files of which tenants are still to be told: those that come after the one of this number."""

    loaded: PoliciesLoaded
    after: int


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

    def policy_files_since(self) -> int | None:
        """Return when the policy files were replaced, None where nobody noted it."""

    def keep_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files, keep their texts as facts for all tenants, and raise the deployment's revision."""

    def exchange_policy_files(self, files: PolicyFiles) -> None:
        """Replace the policy files, whose texts are kept already, and raise the deployment's revision."""

    def keep_file_texts(self, files: Iterable[SourceFile]) -> None:
        """Keep the texts of files as facts that the records of any tenant may name."""

    def policy_files_checks(self) -> str | None:
        """Return which checks the policy files have passed, None where nobody noted it."""

    def keep_policy_files_checks(self, name: str) -> None:
        """Note which checks the policy files have passed."""

    def keep_policy_files_since(self, now_us: int) -> None:
        """Note when the policy files were replaced."""

    def policies_tried(self) -> Tried | None:
        """Return what was tried last, None where nobody noted it."""

    def keep_policies_tried(self, tried: Tried) -> None:
        """Note what was tried last."""

    def untold_load(self) -> Untold | None:
        """Return the newest load of policy files while there may be tenants that were not told of it."""

    def keep_told(self, loaded: PoliciesLoaded, after: int | None) -> None:
        """Note up to which tenant's number a load was told; None for all of them."""
