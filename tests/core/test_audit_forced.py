"""The record of what a card network captured without a hold."""

import pytest

from sidecar.core.audit import Capture, DecisionFacts, forced_body
from tests.core.builders import NOON_US, purchase

FACTS = DecisionFacts(request="r", policies="p", chain=(), budgets=())


@pytest.mark.parametrize(("merchant", "told"), [("AWS", {"merchant": "AWS"}), (None, {})])
def test_a_merchant_is_named_where_the_network_names_one(merchant: str | None, told: dict[str, str]) -> None:
    capture = Capture(decision_id="dec_1", network="stripe", authorization_id="iauth_1", merchant=merchant, by="cprg_1")
    body = forced_body(request=purchase(), capture=capture, claimed=(), facts=FACTS, now_us=NOON_US, entity_revision=1)
    assert {name: value for name, value in body.items() if name == "merchant"} == told
    assert (body["network"], body["authorization"], body["by"]) == ("stripe", "iauth_1", "cprg_1")
