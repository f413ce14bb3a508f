"""The properties that a tenant allows are named by texts that can be names of tags and attributes."""

import pytest

from sidecar.core.authzen import NAME_LENGTH_MAX, NAMES_MAX, Authzen, check_names, told_of
from sidecar.core.errors import ValidationFailed


def test_nothing_is_allowed_unless_it_is_said() -> None:
    assert told_of(Authzen()) == {"subject_properties": (), "resource_properties": (), "item_context": False}


def test_names_are_kept_once_and_in_their_order() -> None:
    assert check_names(["role", "site", "role"], "f") == ("role", "site")


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (["role", ""], "f[1]"),
        (["x" * (NAME_LENGTH_MAX + 1)], "f[0]"),
        (["a\nb"], "f[0]"),
        (["__entity"], "f.__entity"),
        ([str(number) for number in range(NAMES_MAX + 1)], "f"),
    ],
)
def test_what_can_be_no_name_is_refused_with_its_place(names: list[str], field: str) -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_names(names, "f")
    assert caught.value.field == field
