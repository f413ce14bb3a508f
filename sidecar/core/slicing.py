"""What one request is ruled on: the policies whose scope matches it, and of entities and context what those can read.

A ruling on the slices is the ruling of all policies on everything: same effect, same determining policies, same errors
(DESIGN rule 19). A policy whose scope does not match says nothing and cannot fail; an entity, an attribute or a context
key that no candidate can read cannot change what any of them says. What is left out is decided when policies are
compiled, from the form of their conditions, never from a request's values.

Cedar's own check of a request against the schema is left out as well where ``sidecar.core.question`` has said all that
it would say: principal, action and resource are declared and go together, an enumeration has the resource's id, the
context and the resource's attributes have exactly the declared types. What that cannot vouch for is asked in full,
with the schema: requests that name entities, since Cedar also checks the ids of enumerations in them, and schemas that
give a key that the sidecar fills another type than it has.
"""

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import Final, TypeAlias

import msgspec
import orjson

from sidecar.core.directory import IdentityChain, entities_of
from sidecar.core.forms import Form
from sidecar.core.ids import pascal_case
from sidecar.core.policy import CompiledSchema, EntitySlice, entity_slice
from sidecar.core.policy_scope import EntityUid
from sidecar.core.policy_set import PolicySet, PolicySlice
from sidecar.core.question import Question
from sidecar.core.recent import Recent
from sidecar.core.ruling import Ruling
from sidecar.core.scope_index import Narrowed, keys_for

RULINGS_MAX: Final = 2_048
"""Rulings that one process keeps: an agent repeats a call of a tool far more often than a payment."""

Rulings: TypeAlias = Recent[tuple[Hashable, ...], Ruling]
"""What was ruled lately, by all that it depends on, compared in full and never by a digest of it."""


class _Course(msgspec.Struct, frozen=True):
    """What is known of all requests of one asker in one form; ``whole`` is their slice where every one has the same."""

    narrowed: Narrowed
    whole: PolicySlice | None


class Asker:
    """One identity chain as the policies of its tenant see it.

    What does not depend on a single request is worked out when it is first needed, and kept: the parsed entities of the
    chain, and the policies that mean the acting identity, for each action and type of resource.
    """

    def __init__(self, chain: IdentityChain, policies: PolicySet, schema: CompiledSchema) -> None:
        """Stand for ``chain``, whose first identity acts."""
        self._chain = chain
        self._policies = policies
        self._schema = schema
        self._courses: dict[tuple[str, str], _Course] = {}

    @cached_property
    def reaches(self) -> tuple[EntityUid, ...]:
        """The entities that policies which can mean this identity name and look into, whatever it asks; sorted."""
        return self._policies.index.reaches(self._keys)

    def candidates(self, question: Question) -> PolicySlice:
        """Return the policies whose scope matches a question."""
        form = question.form
        name = (form.action.name, form.resource.name)
        course = self._courses.get(name)
        if course is None:
            course = self._courses[name] = self._course(form)
        if course.whole is not None:
            return course.whole
        above = [question.resource] if question.target is None else _uids(question.target)
        return self._policies.slice(course.narrowed.on(question.resource, above))

    def rule(self, question: Question, reached: Sequence[dict[str, object]], kept: Rulings, at: Hashable) -> Ruling:
        """Return what the policies say.

        ``reached`` are further stored entities that the policies could see. What was ruled before on just the same
        question is taken from ``kept``, if it was at the same revision ``at``. Raises ValidationFailed for a request or
        entities that do not fit the schema.
        """
        among = self.candidates(question)
        if (
            question.attributes is None
            or question.references
            or among.reaches
            or not question.form.is_sound
            or question.is_claimed
        ):
            entities = entity_slice([*question.entities, *reached], self._schema)
            return self._policies.ask_checked(among, question.request, entities)
        asked = question.asking(among.context_read)
        resource = question.resource_entity if among.looks_into_resource else None
        # All that a ruling depends on, in full: this asker (its chain, its policies), and what Cedar would be given.
        given = orjson.dumps(asked.context), None if resource is None else orjson.dumps(resource)
        key = (self, at, asked.action, asked.resource, *given)
        ruling = kept.get(key)
        if ruling is None:
            entities = self._entities if resource is None else self._entities.with_resource(resource)
            ruling = self._policies.ask(among, asked, entities)
            kept.keep(key, ruling)
        return ruling

    @cached_property
    def _entities(self) -> EntitySlice:
        return entity_slice(entities_of(self._chain), self._schema)

    @cached_property
    def _keys(self) -> tuple[tuple[str | None, EntityUid | None, EntityUid | None], ...]:
        above = _uids(self._chain)
        return keys_for(above[0], above)

    def _course(self, form: Form) -> _Course:
        action = ("Action", form.action.name)
        groups = [("Action", group) for group in sorted(form.action.groups)]
        narrowed = self._policies.index.narrow(self._keys, keys_for(action, [action, *groups]), form.resource.name)
        return _Course(narrowed, None if narrowed.buckets else self._policies.slice(narrowed.positions))


def _uids(chain: IdentityChain) -> list[EntityUid]:
    return [(pascal_case(identity.type), identity.identity_id) for identity in chain]
