"""What policies are asked and what they say."""

from sidecar.core.ruling import PolicyFault, Ruling


def test_rulings_are_the_same_when_all_that_they_say_is() -> None:
    """Equal by effect, determining policies and faults, so that slices can be held against the whole."""
    fault = PolicyFault("spend/cards", "no such attribute")
    assert Ruling("deny", ("a", "b"), (fault,)) == Ruling("deny", ("a", "b"), (PolicyFault(*_parts(fault)),))
    assert Ruling("deny", ("a",)) != Ruling("allow", ("a",))
    assert Ruling("deny", ("a",)) != Ruling("deny", ("a",), (fault,))


def _parts(fault: PolicyFault) -> tuple[str, str]:
    return fault.policy_id, fault.message
