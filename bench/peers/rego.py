"""The work as Rego, in two layouts, for OPA's server and for its engine inside another process.

``data``: one rule that looks the limits up by the identities of the chain, as OPA's guide to performance
asks for. ``rules``: one rule for each policy, which is how policies are written when nobody thinks of an index.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

PACKAGE: Final = "bench"
DECISION: Final = "allow"

_BY_DATA: Final = """package bench

default allow := false

allow if {
    some identity in data.chains[input.principal]
    limits := data.limits[identity]
    input.action == limits.action
    input.amount <= limits.amount_max
    limits.currencies[input.currency]
    limits.categories[input.merchant_category]
    input.hour >= limits.hour_from
    input.hour <= limits.hour_to
}
"""


def module(work: Mapping[str, Any], layout: str) -> str:
    """Return the Rego module of ``work``, which is read from JSON, in ``layout``."""
    if layout == "data":
        return _BY_DATA
    rules = "\n".join(_rule(policy) for policy in work["policies"])
    return f"package bench\n\ndefault allow := false\n\n{rules}"


def data(work: Mapping[str, Any], layout: str) -> dict[str, Any]:
    """Return the documents that the module reads."""
    chains = {work["chain"][0]: work["chain"]}
    if layout != "data":
        return {"chains": {name: dict.fromkeys(chain, True) for name, chain in chains.items()}}
    limits = {
        policy["identity"]: policy | {name: dict.fromkeys(policy[name], True) for name in ("currencies", "categories")}
        for policy in work["policies"]
    }
    return {"chains": chains, "limits": limits}


def _rule(policy: Mapping[str, Any]) -> str:
    return f"""allow if {{
    data.chains[input.principal][{json.dumps(policy["identity"])}]
    input.action == {json.dumps(policy["action"])}
    input.amount <= {policy["amount_max"]}
    input.currency in {_set(policy["currencies"])}
    input.merchant_category in {_set(policy["categories"])}
    input.hour >= {policy["hour_from"]}
    input.hour <= {policy["hour_to"]}
}}
"""


def _set(texts: list[str]) -> str:
    return "{" + ", ".join(json.dumps(text) for text in texts) + "}"
