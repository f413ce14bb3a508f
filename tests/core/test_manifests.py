"""A manifest is read as it was written; anything else is none."""

import pytest

from sidecar.core.errors import ValidationFailed
from sidecar.core.manifests import ApiPolicy, Manifest, read_manifest


def test_a_manifest_names_what_a_policy_revision_consists_of() -> None:
    written = b'{"engine":"cedarpy 4","schemas":[["a.cedarschema","A"]],"files":[],"api":[["pol_a","Agent","bob","B"]]}'
    policies = (ApiPolicy("pol_a", "Agent", "bob", "B"),)
    assert read_manifest(written) == Manifest("cedarpy 4", (("a.cedarschema", "A"),), (), policies)


def test_what_is_no_manifest_is_refused() -> None:
    with pytest.raises(ValidationFailed, match="no list of policies"):
        read_manifest(b"{}")
