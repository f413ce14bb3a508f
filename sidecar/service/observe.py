"""What a use case tells of its course, for metrics: when a ruling was there, and what was decided.

Services read no clock; whoever observes does. Nothing that is told here may change or fail what is observed.
"""

from typing import Protocol

from sidecar.core.model import Decision


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


class Unobserved:
    """Implements both and wants to know nothing."""

    def course(self) -> Course:
        """Return itself."""
        return self

    def ruled(self) -> None:
        """Let it pass."""

    def decided(self, *decisions: Decision) -> None:
        """Let it pass."""
