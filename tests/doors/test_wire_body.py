"""Bodies read at once mean what they mean when they are decoded strictly and converted, for every type of request."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import InvalidJson, SidecarError
from sidecar.core.money import Major, NumberText
from sidecar.doors.native import shapes, webhooks
from sidecar.doors.native.examples import EXAMPLES
from sidecar.doors.wire import strict_json, typed
from sidecar.doors.wire.body import BodyReader, document_of

TYPES: list[type] = [
    *(found for found in vars(shapes).values() if isinstance(found, type) and issubclass(found, msgspec.Struct)),
    *(webhooks.WebhookBody, webhooks.WebhookPatchBody, webhooks.RotateWebhookBody),
]
READERS: dict[type, BodyReader[Any]] = {found: BodyReader(found) for found in TYPES}
BODIES = [
    orjson.dumps(example.request)
    for examples in EXAMPLES.values()
    for example in examples
    if example.request is not None
]
RICH = (
    b'{"identity_id":"id_1","action":"a","resource":{"type":"m","id":"x","amount":47.23,"currency":"CAD",'
    b'"quantities":{"tokens":3},"attributes":{"size":1}},"context":{"b":[{"c":{"d":1.5}},-0,true,null,"e:f"]},'
    b'"reservation_ttl_seconds":60}'
)
BODIES += [RICH, b'{"requests":[' + RICH + b"," + RICH + b'],"semantics":"execute_all","dry_run":true}', b"{}", b""]

PARTS = [
    *(
        b'"amount":1,',
        b'"id":"y",',
        b'"\\u0061mount":2,',
        b'"action":"b",',
        b'"context":{},',
        b'"":1,"":2,',
        b'"c":{"c":1},',
    ),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"',
        b"\\",
        b" ",
        b"\n",
        b"\x0b",
        b"\0",
        b"\xff",
        b"\xc3\xa9",
        b"\xef\xbb\xbf",
    ),
    *(
        b"1e2",
        b"-0",
        b"-0.0",
        b"1.0",
        b"1.50",
        b"01",
        b"1e400",
        b"9" * 25,
        b"9" * 5_000,
        b"-9223372036854775809",
        b"NaN",
    ),
    *(
        b"60.0",
        b"null",
        b"true",
        b"Infinity",
        b"1_000",
        b'"\\ud800"',
        b'"\\ud83d\\ude00"',
        b"[" * 40,
        b'"7"',
        b'"x":"x"',
    ),
]
"""What is put somewhere into a body, or in the place of something."""


def outcome(read: Callable[[bytes], object], body: bytes) -> object:
    """Return what a body is read as, spelled out, or how it is refused."""
    try:
        return spelled(read(body))
    except SidecarError as error:
        return type(error), error.message, error.field


def spelled(value: object) -> object:
    """Return a value with its types and the texts of its numbers: equality alone takes 1, 1.0, 1.00 and True as one."""
    if isinstance(value, msgspec.Struct):
        return type(value), {name: spelled(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return [(name, spelled(each)) for name, each in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [spelled(each) for each in value]
    if isinstance(value, NumberText | Major):
        return type(value), value.text
    assert value is None or type(value) in {bool, int, str, msgspec.UnsetType}, value
    return type(value), value


def check(body: bytes, found: type = shapes.AuthorizeBody) -> object:
    """Compare both ways of reading a body as one type; returns what came of it."""
    slow = outcome(lambda raw: typed.convert(document_of(raw), found), body)
    assert outcome(READERS[found].read, body) == slow, (found, body)
    return slow


def tokens(body: bytes) -> Iterator[int]:
    """Yield the places in a body where something begins or ends."""
    yield from (
        place for place in range(len(body) + 1) if body[place - 1 : place + 1].strip(b"abcdefghijklmnopqrstuvwxyz_")
    )


@pytest.mark.parametrize("found", TYPES)
def test_what_is_published_is_read_alike(found: type) -> None:
    """As every type, so that most of it is refused."""
    for body in BODIES:
        check(body, found)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("body", [RICH, RICH.replace(b",", b" ,\t").replace(b":", b" :\r\n")])
def test_hostile_parts_are_read_alike_wherever_they_are(body: bytes, part: bytes) -> None:
    """Put in at every place."""
    for place in tokens(body):
        check(body[:place] + part + body[place:])


def accepts(found: type, body: bytes) -> bool:
    """Whether a body is one of a type."""
    try:
        typed.convert(document_of(body), found)
    except SidecarError:
        return False
    return True


FITTING = [(body, found) for body in BODIES for found in TYPES if accepts(found, body)]


@given(st.data())
def test_broken_bodies_are_read_alike(data: st.DataObject) -> None:
    body, found = data.draw(st.sampled_from(FITTING))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(len(body), start + 12)))
        part = data.draw(st.one_of(st.sampled_from(PARTS), st.just(body[end : end + 30]), st.binary(max_size=3)))
        body = body[:start] + part + body[end:]
    check(body, found)


class Pairs(tuple[tuple[str, Any], ...]):
    """An object whose keys may come twice."""

    __slots__ = ()


KEYS = st.sampled_from(["amount", "id", "type", "context", "resource", "", "e:f", '"', "\\", "é", "a b"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.sampled_from([0.5, 1e300, -0.0]), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.lists(st.tuples(KEYS, inner), max_size=3).map(Pairs)),
    max_leaves=8,
)


ASTRAL = 65_536
GAPS = st.sampled_from(["", " ", "\r\n\t"])


def escaped(text: str) -> str:
    """Return a JSON text with an escape for every character that has one."""
    return '"' + "".join(f"\\u{ord(each):04x}" if ord(each) < ASTRAL else each for each in text) + '"'


def written(value: object, gap: str, text_of: Callable[[str], str]) -> str:
    """Return a value as JSON."""
    if isinstance(value, Pairs):
        inner = (f"{text_of(key)}{gap}:{gap}{written(each, gap, text_of)}" for key, each in value)
        return f"{{{gap}{f',{gap}'.join(inner)}}}"
    if isinstance(value, list):
        return f"[{','.join(written(each, gap, text_of) for each in value)}]"
    return text_of(value) if isinstance(value, str) else json.dumps(value)


@given(VALUES, VALUES, GAPS, st.sampled_from([escaped, partial(json.dumps, ensure_ascii=False)]))
def test_whatever_a_caller_claims_is_read_alike(
    context: object, attributes: object, gap: str, text_of: Callable[[str], str]
) -> None:
    """Above all: a key that is given twice is refused at any depth and in any spelling."""
    resource = Pairs((("type", "m"), ("id", "x"), ("attributes", attributes)))
    body = Pairs((("identity_id", "i"), ("action", "a"), ("resource", resource), ("context", context)))
    check(written(body, gap, text_of).encode())


def test_a_usual_body_is_read_at_once_and_gives_exact_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the tests above would compare the slow way with itself."""
    monkeypatch.setattr(strict_json, "decode", None)
    read = BodyReader(shapes.AuthorizeBody).read(RICH)
    assert read.resource.amount == Major("47.23")
    assert [type(each) for each in read.context["b"][:1]] == [dict]  # type: ignore[index]
    assert read.context["b"][0]["c"]["d"] == Decimal("1.5")  # type: ignore[index]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a": {"b":1},"c":{"b":2}}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":{"b":1},"c":{"b":2.50}}',
        b'{"a":1,"\\u0061":2}',
        b'{"":1,"":2}',
        b'{"a" : 1, "a"\t:2}',
        b"[" * 33,
        b'{"a": "","b":1}',
    ],
)
def test_a_body_that_needs_a_closer_look_is_not_plain(body: bytes) -> None:
    assert not strict_json.is_plain(body)


@pytest.mark.parametrize(
    "body",
    [
        *(b"{}", b'{"a":"a","b":["a","a:","b"],"c":{"d":"\xc3\xa9"}}', b'{ "a" : 1 , "b" : 2 }'),
        *(b'{"a": 1, "b": 2.50}', b'{"a":2.50}', b"not JSON"),
        *(b'{"a":{"b":1},"c":{"b":2.5}}', b'{"a":"","b":"\\n"}', b'{"":1,"a":""}'),
    ],
)
def test_a_body_whose_keys_all_differ_is_plain(body: bytes) -> None:
    assert strict_json.is_plain(body)


def test_a_text_without_an_end_is_walked_through_once() -> None:
    """Or a body of 64 KiB would take seconds: each quote in it would be tried as the beginning of a text again."""
    body = b"[]" * 10 + b'"' + b'\\"' * 50
    assert [match.span() for match in strict_json._STRUCTURE.finditer(body)][-1] == (20, len(body))  # noqa: SLF001
    with pytest.raises(InvalidJson):
        strict_json.decode(body)


@given(st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b'\\"', b"\\", b"a", b'"[', b'["']), max_size=60))
def test_how_deep_a_body_nests_is_seen_at_a_glance_as_by_a_walk(pieces: list[bytes]) -> None:
    """Whatever stands in it, brackets in texts and texts without an end too."""
    body = b"".join(pieces)
    depths = [0]
    for match in strict_json._STRUCTURE.finditer(body):  # noqa: SLF001
        depths.append(depths[-1] + {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(match[0], 0))
    for bound in range(5):
        assert strict_json._is_shallow(body, bound) is (max(depths) <= bound)  # noqa: SLF001


def test_a_flat_body_of_many_brackets_is_no_deep_one() -> None:
    """What nests too deep is named by its place, brackets in texts are none."""
    flat = b"[" + b"[],{}," * 40 + b'"[[[[[[[[[[[[[[[[[[["]'
    assert strict_json.decode(flat) == [*([[], {}] * 40), "[" * 19]
    with pytest.raises(InvalidJson, match="nested deeper than 16 levels at byte 40"):
        strict_json.decode(b"[" + b"[]," * 8 + b"[" * 30)
