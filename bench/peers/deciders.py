"""The libraries that have no server of their own: each decides a request in the process that ``shell`` serves from.

Run by the Python environment of the peers, so nothing of the project is imported but text. A decider takes the request
as ``bench.workload.flat`` makes it and returns whether it is allowed.
"""

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import orjson

from bench.peers import cedar_text, rego

Decide: TypeAlias = Callable[[Mapping[str, Any]], bool]

CASBIN_MODEL: Final = """
[request_definition]
r = sub, act, amount, currency, category, hour

[policy_definition]
p = sub, act, amount_max, currencies, categories, hour_from, hour_to

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow))

[matchers]
m = g(r.sub, p.sub) && r.act == p.act && within(r.amount, p.amount_max) && listed(r.currency, p.currencies) && \
listed(r.category, p.categories) && within(p.hour_from, r.hour) && within(r.hour, p.hour_to)
"""


def cedar(work: Mapping[str, Any], layout: str) -> Decide:
    """Ask cedarpy, parsed policies and entities kept: with all policies, or only those bound to the asker's chain."""
    import cedarpy  # noqa: PLC0415  # each decider needs its own library, and no environment has them all

    rules = work["policies"]
    if layout == "candidates":
        rules = [rule for rule in rules if rule["identity"] in work["chain"]]
    policies = cedarpy.PolicySet.from_str(cedar_text.policies(rules))
    entities = cedarpy.Entities.from_json_str(orjson.dumps(cedar_text.entities(work["chain"])).decode())
    context = ("amount", "currency", "merchant_category", "hour")

    def decide(asked: Mapping[str, Any]) -> bool:
        request = {
            "principal": {"type": "Identity", "id": asked["principal"]},
            "action": {"type": "Action", "id": asked["action"]},
            "resource": {"type": "Merchant", "id": asked["resource"]},
            "context": orjson.dumps({name: asked[name] for name in context}).decode(),
        }
        return cedarpy.is_authorized(request, policies, entities).allowed

    return decide


def opa(work: Mapping[str, Any], layout: str) -> Decide:
    """Ask OPA's engine, the Go code of its server as a shared library, with the query prepared."""
    from opa_bindings import OpaEngine  # noqa: PLC0415  # as above

    engine = OpaEngine()
    engine.add_data(rego.data(work, layout))
    engine.add_policy("bench.rego", rego.module(work, layout))
    path = f"{rego.PACKAGE}.{rego.DECISION}"

    def decide(asked: Mapping[str, Any]) -> bool:
        return engine.eval_document(path, asked) is True

    return decide


def casbin(work: Mapping[str, Any], layout: str) -> Decide:
    """Ask pycasbin: with all policies, or with an enforcer that its filter loaded for the asker's chain."""
    from casbin import Enforcer, FilteredFileAdapter, Model  # noqa: PLC0415  # as above
    from casbin.persist.adapters.filtered_file_adapter import Filter  # noqa: PLC0415

    model = Model()
    model.load_model_from_text(CASBIN_MODEL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.csv"
        path.write_text(casbin_lines(work))
        enforcer = Enforcer(model, FilteredFileAdapter(str(path)))  # with this adapter, nothing is loaded yet
        if layout == "all":
            enforcer.load_policy()
        for name in work["chain"] if layout == "filtered" else ():
            wanted = Filter()
            wanted.P, wanted.G = [name], [name]
            enforcer.load_increment_filtered_policy(wanted)
    enforcer.add_function("within", lambda low, high: int(low) <= int(high))
    enforcer.add_function("listed", lambda text, texts: text in texts.split("|"))
    fields = ("principal", "action", "amount", "currency", "merchant_category", "hour")

    def decide(asked: Mapping[str, Any]) -> bool:
        allowed: bool = enforcer.enforce(*(asked[name] for name in fields))
        return allowed

    return decide


def casbin_lines(work: Mapping[str, Any]) -> str:
    """Return the policies and the hierarchy of ``work`` as pycasbin's file has them."""
    policies = [
        ", ".join(
            (
                "p",
                policy["identity"],
                policy["action"],
                str(policy["amount_max"]),
                "|".join(policy["currencies"]),
                "|".join(policy["categories"]),
                str(policy["hour_from"]),
                str(policy["hour_to"]),
            )
        )
        for policy in work["policies"]
    ]
    links = [f"g, {child}, {parent}" for child, parent in zip(work["chain"], work["chain"][1:], strict=False)]
    return "\n".join((*policies, *links)) + "\n"


DECIDERS: Final[Mapping[str, Callable[[Mapping[str, Any], str], Decide]]] = {
    "cedar": cedar,
    "opa": opa,
    "casbin": casbin,
}
