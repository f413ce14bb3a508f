"""The closed family of errors: why the sidecar could not decide or do what was asked.

A denial is a value, never one of these. Each class has a stable ``code`` that the wire shows as ``type``; doors
translate the code into their protocol's status and shape, the command line into an exit code. Nothing outside this
module subclasses ``SidecarError``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class SidecarError(Exception):
    """Something was asked that cannot be done; ``message`` says what failed, then what was expected."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        """Keep the sentence and, where one place of the input is at fault, its path such as ``resource.amount``."""
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidJson(SidecarError):
    """The body is not JSON that can be read in exactly one way."""

    code = "invalid_json"


class ValidationFailed(SidecarError):
    """The input is readable but breaks a documented rule."""

    code = "validation_failed"


class PolicyInvalid(ValidationFailed):
    """A policy or schema text does not parse or does not fit; says where, counted from 1."""

    def __init__(self, message: str, *, file: str, line: int, column: int, field: str | None = None) -> None:
        """Keep the place; ``str()`` of the error reads ``file:line:column: message``."""
        super().__init__(f"{file}:{line}:{column}: {message}", field=field)
        self.file = file
        self.line = line
        self.column = column


class Unauthenticated(SidecarError):
    """No token, or none that is known and alive."""

    code = "unauthenticated"


class Forbidden(SidecarError):
    """A known caller asks for what this kind of token can never do."""

    code = "forbidden"


class NotFound(SidecarError):
    """No such thing within the caller's reach."""

    code = "not_found"


class Conflict(SidecarError):
    """The thing exists in a state that excludes what was asked."""

    code = "conflict"


class IdempotencyConflict(SidecarError):
    """An idempotency key was used again with other content."""

    code = "idempotency_conflict"


class TooLarge(SidecarError):
    """The body is longer than the limit."""

    code = "too_large"


class UnsupportedMediaType(SidecarError):
    """The body is not declared as JSON."""

    code = "unsupported_media_type"


class MethodNotAllowed(SidecarError):
    """The path exists, the method does not."""

    code = "method_not_allowed"


class RateLimited(SidecarError):
    """A caller asks more often than its limit allows; nothing was done, and nothing was recorded."""

    code = "rate_limited"

    def __init__(self, message: str, *, retry_after_seconds: int) -> None:
        """Keep when the same request would be let in."""
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(SidecarError):
    """The sidecar cannot decide or record now; the outcome may be unknown, a retry with the same key is safe."""

    code = "unavailable"


class ConfigurationInvalid(SidecarError):
    """A setting, flag or file given at start is wrong; the process ends with exit code 2."""

    code = "configuration_invalid"


class StoreUnusable(SidecarError):
    """The store must not be used any more; the process ends with exit code 75 and the next boot checks decide."""

    code = "store_unusable"


@contextmanager
def inside(place: str) -> Iterator[None]:
    """Name the place of a mistake as seen from outside: `resource.amount` becomes `requests[3].resource.amount`."""
    try:
        yield
    except (ValidationFailed, NotFound, Forbidden, Conflict) as error:
        error.field = place if error.field is None else f"{place}.{error.field}"
        raise
