"""What is legal in a policy but dangerous: it parses and fits the schema, and yet hardly says what its author meant.

Each lint looks at one policy: at what is written before it as soon as it parses, at the rest when it has passed the
strict validator. What two policies do to each other is for
``sidecar.core.inspection``.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import pairwise
from typing import Final

import msgspec

from sidecar.core import policy_tree
from sidecar.core.fault_span import Span, head_span
from sidecar.core.policy_scope import Constraint, Scope, scope_of
from sidecar.core.policy_text import tokens
from sidecar.core.policy_tree import Tree
from sidecar.core.policy_unit import Effect
from sidecar.core.schema import Action, SchemaModel

ANNOTATIONS: Final = frozenset({"id", "description", "advice"})
"""Annotations that the sidecar reads; others are the author's own."""

SPEND: Final = "spend"
"""The group of the actions that move money."""

_NEAR: Final = 0.75
"""How alike two names must be for one to be taken for the other misspelt: `desciption`, but not `reason`."""


class Lint(msgspec.Struct, frozen=True):
    """A finding about the text of one statement; ``span`` counts from the statement's first character."""

    code: str
    span: Span
    message: str
    hint: str | None = None


def template_lint(text: str, name: str) -> Lint:
    """Return the lint for a template in a file, which is called ``name``."""
    return Lint(
        "unlinked_template",
        head_span(text),
        f"nothing links the template `{name}`, so it never applies",
        "name the principal, or make the policy over the API, which links it to an identity",
    )


def spending(tree: Tree, model: SchemaModel) -> tuple[str, ...]:
    """Return the actions that move money and that a policy covers by its scope, where it permits."""
    if tree["effect"] != "permit":
        return ()
    return tuple(action.name for action in _spending(scope_of(tree), model))


def unconditional_spend(text: str, names: Iterable[str]) -> Lint:
    """Return the lint for a permit of the actions ``names``, whose conditions are true whatever is asked."""
    listed = ", ".join(f"`{each}`" for each in names)
    return Lint(
        "unconditional_spend",
        head_span(text),
        f"permits {listed} without conditions, so only budgets limit what is spent",
        "add `when { context.amount <= … }`, or what else must hold",
    )


def never_applies(effect: Effect, span: Span) -> Lint:
    """Return the lint for a policy that ``span``, a part of it, makes false whatever is asked."""
    message = f"false for every request that the schema allows, so this `{effect}` never applies"
    return Lint("never_applies", span, message)


def annotation_span(text: str, name: str) -> Span:
    """Return where an annotation of a statement stands; the head where it has none of that name."""
    found = [("", 0), *((token.text, token.offset) for token in tokens(text, ""))]
    pairs = pairwise(found)
    begins = (at for (mark, at), (word, _) in pairs if (mark, word) == ("@", name))
    begin = next(begins, None)
    return head_span(text) if begin is None else (begin, begin + 1 + len(name))


def annotation_lints(text: str, tree: Tree, name: str) -> Iterator[Lint]:
    """Yield what is doubtful about the annotations of a policy that parses; ``name`` is the id that it has."""
    written = policy_tree.annotations(tree)
    if "id" not in written:
        yield Lint(
            "missing_id",
            head_span(text),
            f"the policy has no `@id` and is called `{name}`, which changes when policies are moved",
            'begin it with `@id("…")`',
        )
    for annotation in written.keys() - ANNOTATIONS:
        near = get_close_matches(annotation.lower(), ANNOTATIONS, n=1, cutoff=_NEAR)
        if near and near[0] not in written:
            message = f"`@{annotation}` is no annotation that the sidecar reads"
            yield Lint("unknown_annotation", annotation_span(text, annotation), message, f"did you mean `@{near[0]}`?")


def _spending(scope: Scope, model: SchemaModel) -> list[Action]:
    """Return the actions a scope covers that move money: members of `spend`, and those that require an amount."""
    named = {member for _, name in scope.action.named for member in model.members(name)}
    everything = not scope.action.named
    return [
        action
        for name, action in sorted(model.actions.items())
        if action.can_be_asked
        and (everything or name in named)
        and _moves_money(action)
        and _can_be(scope.principal, action.principals)
        and _can_be(scope.resource, action.resources)
    ]


def _moves_money(action: Action) -> bool:
    amount = action.context.fields.get("amount")
    return SPEND in action.groups or (amount is not None and amount.required)


def _can_be(constraint: Constraint, types: frozenset[str]) -> bool:
    """Whether an entity of one of ``types`` could meet ``constraint``, as far as types alone can tell."""
    type_name = constraint.equal[0] if constraint.equal is not None else constraint.type_name
    return type_name is None or type_name in types
