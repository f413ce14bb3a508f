"""Places in the arguments of a tool call, as JSONPath (RFC 9535) writes them: one value each, or none at all.

The tool reads the same arguments with a parser of its own. Some take a key in any case, and of two keys that differ in
nothing else the last one (Go's ``encoding/json``): then what was decided on would not be what is done. So an object on
the way to a value may have no second key that reads alike.
"""

from typing import Final

import msgspec

from sidecar.core.errors import ConfigurationInvalid, ValidationFailed

PATH_LENGTH_MAX: Final = 512
"""Of a path as it is written; it stands in messages."""


class Place(msgspec.Struct, frozen=True):
    """A path, as it was written and in ``steps``: names of members and indexes of elements."""

    text: str
    steps: tuple[str | int, ...]

    def value(self, arguments: object, field: str) -> object:
        """Return the value at this place of ``arguments``.

        Raises ValidationFailed, naming ``field``, where nothing stands there and where two keys read alike.
        """
        found = arguments
        for step in self.steps:
            if isinstance(step, str) and isinstance(found, dict):
                check_alone(found, step, field)
                if step in found:
                    found = found[step]
                    continue
            elif isinstance(step, int) and isinstance(found, list) and -len(found) <= step < len(found):
                found = found[step]
                continue
            raise ValidationFailed(f"the arguments have nothing at `{self.text}`", field=field)
        return found


def place(text: str, field: str) -> Place:
    """Return the place that ``text`` writes. Raises ConfigurationInvalid unless it names one value at most."""
    # Every command and every server comes by this module, and few have a mapping: the library takes 0.1 s to load.
    import jsonpath  # noqa: PLC0415 -- see above
    from jsonpath.selectors import IndexSelector, NameSelector  # noqa: PLC0415 -- as above

    if len(text) > PATH_LENGTH_MAX:
        raise ConfigurationInvalid(f"`{field}`: a path has at most {PATH_LENGTH_MAX} characters")
    try:
        path = jsonpath.compile(text, strict=True)
    except (jsonpath.JSONPathError, RecursionError) as error:
        said = str(error).partition("\n")[0]
        raise ConfigurationInvalid(f"`{field}`: `{text}` is no JSONPath: {said}") from error
    steps: list[str | int] = []
    for segment in getattr(path, "segments", ()):
        selector = segment.selectors[0]
        if isinstance(selector, NameSelector):
            steps.append(selector.name)
        elif isinstance(selector, IndexSelector):
            steps.append(selector.index)
    if not isinstance(path, jsonpath.JSONPath) or not path.singular_query() or not steps:
        raise ConfigurationInvalid(f"`{field}`: `{text}` can name several values, expected such as `$.order.amount`")
    return Place(text, tuple(steps))


def check_alone(members: dict[str, object], name: str, field: str) -> None:
    """Raise ValidationFailed where a key of ``members`` differs from ``name`` in nothing but its case."""
    folded = name.casefold()
    for key in members:
        if key != name and key.casefold() == folded:
            raise ValidationFailed(f"the key `{key[:64]}` can be read as `{name}`", field=field)
