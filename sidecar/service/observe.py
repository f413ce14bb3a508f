"""What a use case tells of its course: to metrics, when a ruling was there and what was decided; to a witness, on what.

Services read no clock; whoever observes does. Nothing that is told here may change or fail what is observed.
"""

from typing import Protocol

from sidecar.core.directory import Tenant
from sidecar.core.model import AuthorizeRequest, Decision
from sidecar.service.ruling import Proposal


class Course(Protocol):
    """One call on its way to a decision; it begins with its making."""

    def ruled(self) -> None:
        """Policies have been asked; what follows is the transaction."""

    def decided(self, *decisions: Decision) -> None:
        """These new decisions are on disk."""


class Observer(Protocol):
    """Who wants to know."""

    def course(self) -> Course:
        """Return what follows one call from now on."""


class Witness(Protocol):
    """Who looks once more at what was decided, when it is on disk and before it is answered."""

    def witness(self, tenant: Tenant, request: AuthorizeRequest, proposal: Proposal, decision: Decision) -> None:
        """Take note of one new decision and what it rested on, at once and without raising anything."""


class Unobserved:
    """Implements all of them and wants to know nothing."""

    def course(self) -> Course:
        """Return itself."""
        return self

    def ruled(self) -> None:
        """Let it pass."""

    def decided(self, *decisions: Decision) -> None:
        """Let it pass."""

    def witness(self, tenant: Tenant, request: AuthorizeRequest, proposal: Proposal, decision: Decision) -> None:
        """Let it pass."""
