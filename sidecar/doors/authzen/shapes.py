"""The parts of AuthZEN's requests. Fields that the specification does not know are passed over, as it asks.

Source: OpenID AuthZEN Authorization API 1.0, section 5. What an entity is called only has to be there: a name that none
of ours can have is the name of nobody, which is a denial and no mistake.
"""

from typing import Annotated, Final, TypeVar

import msgspec

from sidecar.core.errors import inside
from sidecar.doors.wire import typed

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


def read(value: object, kind: type[T], place: str) -> T:
    """Return a part of a body as ``kind``. Raises ValidationFailed naming the place, such as ``subject.id``."""
    with inside(place):
        return typed.convert(value, kind)
