"""The manifests that run the sidecar beside an agent and as a control plane: valid, and of things that exist."""

import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from sidecar.cli.configuration import OUTSIDE, PREFIX, check_environment
from sidecar.cli.serve import serve
from sidecar.core.errors import ConfigurationInvalid

FOLDER: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"
DOCUMENTS: Final[dict[str, dict[str, Any]]] = {
    f"{path.stem}-{document['kind']}": document
    for path in sorted(FOLDER.glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
}
MANIFESTS: Final = [pytest.param(document, id=name) for name, document in DOCUMENTS.items()]
KNOWN: Final = [option.name for option in serve.params if option.name]


def containers(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of this project in a manifest; it has none where it makes no pods."""
    pod = manifest["spec"].get("template", {"spec": {}})["spec"]
    everything = [*pod.get("initContainers", ()), *pod.get("containers", ())]
    return [each for each in everything if each["name"] == "sidecar"]


def test_there_are_manifests_for_both_roles() -> None:
    """One follows a control plane, the other is one."""
    named = [variable["name"] for each in DOCUMENTS.values() for one in containers(each) for variable in one["env"]]
    assert {"SIDECAR_CONTROL_PLANE", "SIDECAR_CONTROL_PLANE_TOKEN", "SIDECAR_ADMIN_TOKEN"} <= set(named)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_one(manifest: dict[str, Any]) -> None:
    """Kubernetes knows every field of it."""
    kubernetes_validate.validate(manifest, "1.37", strict=True)


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_container_sets_what_can_be_set(manifest: dict[str, Any]) -> None:
    """Each variable is a setting; services of the namespace add none."""
    for container in containers(manifest):
        names = [variable["name"] for variable in container["env"]]
        assert {name for name in names if name not in OUTSIDE} <= {PREFIX + name.upper() for name in KNOWN}
        assert manifest["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_container_may_write_to_its_volumes_only(manifest: dict[str, Any]) -> None:
    """It runs as nobody in particular, on a root file system that cannot be written."""
    for container in containers(manifest):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert context["runAsNonRoot"]
        assert not context["allowPrivilegeEscalation"]
        assert {"data", "tmp"} <= {mount["name"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_probe_that_starts_a_program_may_take_longer_than_its_question(manifest: dict[str, Any]) -> None:
    """Kubernetes gives it one second unless told otherwise, and would end a server because its node is busy."""
    for container in containers(manifest):
        for probe in (container[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")):
            if "exec" in probe:
                asked = re.search(r"timeout=(\d+)", probe["exec"]["command"][-1])
                assert asked is not None
                assert probe["timeoutSeconds"] > int(asked[1])


def test_a_follower_is_told_an_address_that_is_encrypted() -> None:
    """The control plane's own port is not: TLS ends in front of it."""
    (beside,) = containers(DOCUMENTS["agent-with-sidecar-StatefulSet"])
    named = {variable["name"]: variable.get("value", "") for variable in beside["env"]}
    address = urlsplit(named["SIDECAR_CONTROL_PLANE"])
    assert address.scheme == "https"
    assert not (address.hostname or "").endswith(".svc")


@pytest.mark.parametrize(
    "name",
    [
        "SIDECAR_SERVICE_HOST",
        "SIDECAR_SERVICE_PORT_HTTP",
        "SIDECAR_PORT_8181_TCP_ADDR",
        "SIDECAR_CONTROL_PLANE_SERVICE_HOST",
        "SIDECAR_CONTROL_PLANE_PORT",
        "SIDECAR_CONTROL_PLANE_PORT_8181_TCP",
    ],
)
def test_what_kubernetes_says_of_services_is_no_misspelled_setting(name: str) -> None:
    """A service called ``sidecar`` or ``sidecar-control-plane`` puts such variables into every container beside it."""
    check_environment({name: "tcp://10.0.0.1:8181"}, KNOWN)


def test_a_misspelled_setting_is_refused() -> None:
    """Everything else that begins like a setting must be one."""
    with pytest.raises(ConfigurationInvalid, match="SIDECAR_CONTROL_PLAIN"):
        check_environment({"SIDECAR_CONTROL_PLAIN": "https://cp.example"}, KNOWN)
