"""Errors are one closed family whose codes are what the wire shows."""

import ast
import inspect

import pytest

from sidecar.core import errors
from sidecar.core.errors import (
    NotFound,
    PolicyInvalid,
    RateLimited,
    SidecarError,
    Unavailable,
    ValidationFailed,
    inside,
)

FAMILY = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SidecarError)]


@pytest.mark.parametrize("error", FAMILY, ids=lambda error: error.__name__)
def test_a_code_is_one_word_of_the_wire(error: type[SidecarError]) -> None:
    assert error.code == error.code.lower()
    assert error.code.replace("_", "").isalpha()


def test_each_error_has_a_code_of_its_own() -> None:
    """But a policy that is refused, which the wire shows as any other input that breaks a rule."""
    own = [error for error in FAMILY if error is not PolicyInvalid]
    assert len({error.code for error in own}) == len(own)
    assert PolicyInvalid.code == ValidationFailed.code


def test_the_family_is_flat_and_closed() -> None:
    direct = {error for error in FAMILY if error.__bases__ == (SidecarError,)}
    assert set(FAMILY) - direct == {SidecarError, PolicyInvalid}
    assert PolicyInvalid.__bases__ == (ValidationFailed,)


def test_an_error_that_is_raised_says_what_failed_and_where() -> None:
    error = ValidationFailed("too many", field="resource.amount")
    assert (str(error), error.message, error.field) == ("too many", "too many", "resource.amount")
    assert SidecarError("broken").field is None


def test_who_is_held_back_is_told_until_when() -> None:
    error = RateLimited("too many", retry_after_seconds=3)
    assert (error.message, error.retry_after_seconds) == ("too many", 3)


def test_a_refused_policy_reads_as_compilers_write_it() -> None:
    error = PolicyInvalid("unexpected `}`", file="spend.cedar", line=3, column=7, field="cedar")
    assert str(error) == "spend.cedar:3:7: unexpected `}`"
    assert (error.file, error.line, error.column, error.field) == ("spend.cedar", 3, 7, "cedar")


def test_each_error_says_what_it_means() -> None:
    classes = [node for node in ast.parse(inspect.getsource(errors)).body if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if not ast.get_docstring(node)] == []


def test_a_mistake_inside_of_something_names_its_place_from_outside() -> None:
    for field, seen in (("resource.amount", "requests[3].resource.amount"), (None, "requests[3]")):
        with pytest.raises(NotFound) as caught, inside("requests[3]"):
            raise NotFound("unknown", field=field)
        assert caught.value.field == seen
    with pytest.raises(Unavailable) as other, inside("requests[3]"):
        raise Unavailable("full")
    assert other.value.field is None
