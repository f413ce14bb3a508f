"""Who takes part: how each is given the work, started and asked, and what it does for one request."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import orjson

from bench.measure import Request, post
from bench.peers import cedar_text, install, rego
from bench.servers import ROOT, Server, answering, free_port, running
from bench.workload import ACTION, CHAIN, MERCHANT, Question, Work, flat

Start: TypeAlias = Callable[[Path, Work, int | None], AbstractContextManager[Server]]
"""Starts a contestant in a folder of its own, with the work, on a core; raises UnavailableError or NotReadyError."""


class Contestant(msgspec.Struct, frozen=True, kw_only=True):
    """One peer in one layout. ``does`` says what one request makes it do, for the legend of the table."""

    name: str
    does: str
    start: Start
    ask: Callable[[Server, Question], Request]


def contestants() -> tuple[Contestant, ...]:
    """Return all peers, each in its best layout and in its obvious one."""
    return (*_opa(), *_cerbos(), *_cedar_wasm(), *_casbin(), *_cedarpy())


def _cedarpy() -> Sequence[Contestant]:
    return (
        _shelled(
            "cedarpy in the shell, candidates only",
            "Cedar for Python over a set that holds only the policies of the asker's chain, chosen before the start",
            "cedar",
            "candidates",
        ),
        _shelled(
            "cedarpy in the shell, all policies",
            "Cedar for Python over one parsed set of all policies: the naive floor",
            "cedar",
            "all",
        ),
    )


def _casbin() -> Sequence[Contestant]:
    return (
        _shelled(
            "pycasbin in the shell, filtered",
            "an enforcer whose filter loaded the policies of the asker's chain before the start",
            "casbin",
            "filtered",
        ),
        _shelled(
            "pycasbin in the shell, all policies",
            "one enforcer; its matcher is tried on each policy up to the one that allows",
            "casbin",
            "all",
        ),
    )


def _shelled(name: str, does: str, decider: str, layout: str, python: Callable[[], Path] | None = None) -> Contestant:
    def start(folder: Path, work: Work, core: int | None) -> AbstractContextManager[Server]:
        interpreter = (python or install.python)()
        path = folder / "work.json"
        path.write_bytes(orjson.dumps(msgspec.to_builtins(work)))
        command = [str(interpreter), "-m", "bench.peers.shell", decider, layout, str(path)]
        return running(command, folder, core, {**os.environ, "PYTHONPATH": str(ROOT)})

    return Contestant(name=name, does=does, start=start, ask=_ask_flat)


def _ask_flat(server: Server, question: Question) -> Request:
    content = post(server, "/", orjson.dumps(flat(question)))
    return Request(content=content, path=("allowed",), value=question.is_allowed)


def _opa() -> Sequence[Contestant]:
    """Return OPA's own server where there is one, else its engine in the shell that the Python libraries have."""
    layouts = {
        "data": ("rules as data", "one rule that looks up the limits of each identity of the chain in a document"),
        "rules": ("one rule per policy", "a rule for each policy, tried in turn"),
    }
    try:
        binary = install.program("opa")
    except install.UnavailableError:
        python = install.python_with_opa
        return [
            _shelled(f"OPA's engine in the shell, {name}", f"the Go engine in process: {does}", "opa", layout, python)
            for layout, (name, does) in layouts.items()
        ]
    return [
        Contestant(
            name=f"OPA server, {name}", does=does, start=partial(_start_opa, binary=binary, layout=layout), ask=_ask_opa
        )
        for layout, (name, does) in layouts.items()
    ]


def _start_opa(
    folder: Path, work: Work, core: int | None, *, binary: str, layout: str
) -> AbstractContextManager[Server]:
    plain: Mapping[str, object] = msgspec.to_builtins(work)
    policies = folder / "policies"
    policies.mkdir()
    (policies / "bench.rego").write_text(rego.module(plain, layout))
    (policies / "data.json").write_text(json.dumps(rego.data(plain, layout)))
    port = free_port()
    command = [binary, "run", "--server", f"--addr=127.0.0.1:{port}", "--log-level=error", str(policies)]
    return answering([*command, "--disable-telemetry"], folder, core, port, "/health", os.environ)


def _ask_opa(server: Server, question: Question) -> Request:
    content = post(server, f"/v1/data/{rego.PACKAGE}/{rego.DECISION}", orjson.dumps({"input": flat(question)}))
    return Request(content=content, path=("result",), value=question.is_allowed)


def _cerbos() -> Sequence[Contestant]:
    return (
        Contestant(
            name="Cerbos, one resource policy",
            does="one rule that looks up the limits of each identity of the chain in the policy's constants",
            start=partial(_start_cerbos, write=_write_one_policy),
            ask=partial(_ask_cerbos, scope=""),
        ),
        Contestant(
            name="Cerbos, scoped policies",
            does="a scoped policy for each identity; the scope of the request is the asker's chain",
            start=partial(_start_cerbos, write=_write_scoped_policies),
            ask=partial(_ask_cerbos, scope=".".join(reversed(CHAIN))),
        ),
    )


def _start_cerbos(
    folder: Path, work: Work, core: int | None, *, write: Callable[[Path, Work], None]
) -> AbstractContextManager[Server]:
    program = install.cerbos()
    policies = folder / "policies"
    policies.mkdir()
    write(policies, work)
    port = free_port()
    configuration = {
        "server": {"httpListenAddr": f"127.0.0.1:{port}", "grpcListenAddr": f"127.0.0.1:{free_port()}"},
        "engine": {"lenientScopeSearch": True},
        "telemetry": {"disabled": True},
        "audit": {"enabled": False},
        "storage": {"driver": "disk", "disk": {"directory": str(policies), "watchForChanges": False}},
    }
    path = folder / "cerbos.json"
    path.write_text(json.dumps(configuration))
    command = [str(program), "server", f"--config={path}", "--log-level=error"]
    return answering(command, folder, core, port, "/_cerbos/health", os.environ)


def _write_one_policy(folder: Path, work: Work) -> None:
    limits = {policy.identity: msgspec.to_builtins(policy) for policy in work.policies}
    condition = (
        "P.attr.chain.exists(i, i in C.limits && R.attr.amount <= C.limits[i].amount_max"
        " && R.attr.currency in C.limits[i].currencies && R.attr.merchant_category in C.limits[i].categories"
        " && R.attr.hour >= C.limits[i].hour_from && R.attr.hour <= C.limits[i].hour_to)"
    )
    policy = {"constants": {"local": {"limits": limits}}, "rules": [_cerbos_rule(condition)]}
    (folder / "card.json").write_text(_cerbos_policy(policy))


def _write_scoped_policies(folder: Path, work: Work) -> None:
    root = CHAIN[-1]
    for scope in ("", root):  # a scoped policy must have all that its scope begins with
        (folder / f"{scope or 'all'}.json").write_text(_cerbos_policy({"scope": scope, "rules": []}))
    for policy in work.policies:
        condition = (
            f"R.attr.amount <= {policy.amount_max} && R.attr.currency in {json.dumps(policy.currencies)}"
            f" && R.attr.merchant_category in {json.dumps(policy.categories)}"
            f" && R.attr.hour >= {policy.hour_from} && R.attr.hour <= {policy.hour_to}"
        )
        scoped = {"scope": f"{root}.{policy.identity}", "rules": [_cerbos_rule(condition)]}
        (folder / f"{policy.identity}.json").write_text(_cerbos_policy(scoped))


def _cerbos_rule(condition: str) -> dict[str, object]:
    return {
        "actions": [ACTION],
        "effect": "EFFECT_ALLOW",
        "roles": ["agent"],
        "condition": {"match": {"expr": condition}},
    }


def _cerbos_policy(policy: Mapping[str, object]) -> str:
    whole = {"version": "default", "resource": "card"} | dict(policy)
    return json.dumps({"apiVersion": "api.cerbos.dev/v1", "resourcePolicy": whole})


def _ask_cerbos(server: Server, question: Question, *, scope: str) -> Request:
    asked = flat(question)
    attributes = {name: asked[name] for name in ("amount", "currency", "merchant_category", "hour")}
    resource = {"kind": "card", "id": MERCHANT, "attr": attributes} | ({"scope": scope} if scope else {})
    body = {
        "principal": {"id": CHAIN[0], "roles": ["agent"], "attr": {"chain": CHAIN}},
        "resources": [{"actions": [ACTION], "resource": resource}],
    }
    return Request(
        content=post(server, "/api/check/resources", orjson.dumps(body)),
        path=("results", 0, "actions", ACTION),
        value="EFFECT_ALLOW" if question.is_allowed else "EFFECT_DENY",
    )


def _cedar_wasm() -> Sequence[Contestant]:
    layouts: Final = {
        "candidates": ("candidates only", "a parsed set that holds only the policies of the asker's chain"),
        "all": ("all policies", "one parsed set of all policies"),
    }
    return [
        Contestant(
            name=f"cedar-wasm on Node, {name}",
            does=f"Node's own HTTP server and Cedar as WebAssembly: {does}",
            start=partial(_start_cedar_wasm, layout=layout),
            ask=_ask_flat,
        )
        for layout, (name, does) in layouts.items()
    ]


def _start_cedar_wasm(folder: Path, work: Work, core: int | None, *, layout: str) -> AbstractContextManager[Server]:
    node, modules = install.program("node"), install.node_modules()
    rules = msgspec.to_builtins(work)["policies"]
    path = folder / "work.json"
    path.write_bytes(
        orjson.dumps(
            {
                "chain": work.chain,
                "entities": cedar_text.entities(work.chain),
                "policies": {rule["identity"]: cedar_text.policy(rule) for rule in rules},
            }
        )
    )
    script = ROOT / "bench" / "peers" / "cedar_wasm.cjs"
    return running([node, str(script), str(modules), layout, str(path)], folder, core, os.environ)
