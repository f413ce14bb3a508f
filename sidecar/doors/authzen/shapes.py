"""The parts of AuthZEN's requests. Fields that the specification does not know are passed over, as it asks.

Source: OpenID AuthZEN Authorization API 1.0, section 5. What an entity is called only has to be there: a name that none
of ours can have is the name of nobody, which is a denial and no mistake.
"""

from typing import Annotated, Final, TypeVar

import msgspec

from sidecar.core.errors import inside
from sidecar.doors.wire import typed
from sidecar.service.batch import Semantics

T = TypeVar("T")

Given = Annotated[str, msgspec.Meta(min_length=1)]
"""A text that must say something."""

PATHS: Final = {
    "access_evaluation_endpoint": "/access/v1/evaluation",
    "access_evaluations_endpoint": "/access/v1/evaluations",
    "search_subject_endpoint": "/access/v1/search/subject",
    "search_resource_endpoint": "/access/v1/search/resource",
    "search_action_endpoint": "/access/v1/search/action",
}
"""Every path of the door, by the name that the metadata has for it."""


def tenant_path(path: str) -> str:
    """Return the path of the same call in a tenant that the path names, which the operator needs."""
    return f"/{{tenant_id}}{path}"


class Subject(msgspec.Struct, frozen=True):
    """Who wants to act."""

    type: Given
    id: Given
    properties: dict[str, object] = {}


class Action(msgspec.Struct, frozen=True):
    """What it wants to do."""

    name: Given
    properties: dict[str, object] = {}


class Resource(msgspec.Struct, frozen=True):
    """On what."""

    type: Given
    id: Given
    properties: dict[str, object] = {}


class SearchedEntity(msgspec.Struct, frozen=True):
    """What a search looks for: a type; an ``id`` beside it is passed over, whatever it is."""

    type: Given
    properties: dict[str, object] = {}


class Options(msgspec.Struct, frozen=True):
    """How several questions are answered; a ``dry_run`` reserves and records nothing, of one question neither.

    ``item_context`` asks for the context of each answer, which the tenant's settings can ask for as well.
    """

    evaluations_semantic: Semantics = "execute_all"
    dry_run: bool = False
    item_context: bool = False


class EvaluationBody(msgspec.Struct, frozen=True):
    """One question."""

    subject: Subject
    action: Action
    resource: Resource
    context: dict[str, object] = {}
    options: Options = Options()


class EvaluationsBody(msgspec.Struct, frozen=True):
    """Several questions; what stands beside them holds for each that does not have the same key."""

    subject: Subject | msgspec.UnsetType = msgspec.UNSET
    action: Action | msgspec.UnsetType = msgspec.UNSET
    resource: Resource | msgspec.UnsetType = msgspec.UNSET
    context: dict[str, object] | msgspec.UnsetType = msgspec.UNSET
    evaluations: list[object] = []
    options: Options = Options()


PARTS: Final = ("subject", "action", "resource", "context")
"""What a question consists of, by the keys that it is written with."""


def read(value: object, kind: type[T], place: str) -> T:
    """Return a part of a body as ``kind``. Raises ValidationFailed naming the place, such as ``subject.id``."""
    with inside(place):
        return typed.convert(value, kind)
