"""The work as Cedar policies and entities, for everything that runs Cedar."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def policies(rules: Iterable[Mapping[str, Any]], identity_type: str = "Identity") -> str:
    """Return one policy for each of ``rules``, which are those of the work as JSON."""
    return "\n".join(policy(rule, identity_type) for rule in rules)


def policy(rule: Mapping[str, Any], identity_type: str = "Identity") -> str:
    """Return one policy: the identity, and all below it, may do what the rule allows."""
    return f"""@id("{rule["identity"]}")
permit (principal in {identity_type}::"{rule["identity"]}", action == Action::"{rule["action"]}", resource)
when {{
  context.amount <= {rule["amount_max"]} &&
  {_set(rule["currencies"])}.contains(context.currency) &&
  context has merchant_category &&
  {_set(rule["categories"])}.contains(context.merchant_category) &&
  context.hour >= {rule["hour_from"]} &&
  context.hour <= {rule["hour_to"]}
}};
"""


def _set(texts: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{text}"' for text in texts) + "]"


def entities(chain: Sequence[str]) -> list[dict[str, Any]]:
    """Return the identities of ``chain``, each in the one after it."""
    parents: list[list[str]] = [*([parent] for parent in chain[1:]), []]
    return [
        {
            "uid": {"type": "Identity", "id": name},
            "attrs": {},
            "parents": [{"type": "Identity", "id": parent} for parent in above],
        }
        for name, above in zip(chain, parents, strict=True)
    ]
