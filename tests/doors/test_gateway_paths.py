"""Paths and hosts that a proxy saw: read in the one way that every server agrees on, or refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.doors.gateway.paths import TARGET_LENGTH_MAX, host_of, segments_of


@pytest.mark.parametrize(
    ("target", "segments"),
    [
        ("/", ("",)),
        ("/?a=/../b", ("",)),
        ("/v1/tools/search", ("v1", "tools", "search")),
        ("/v1/tools/search/", ("v1", "tools", "search", "")),
        ("/v1/a%20b", ("v1", "a b")),
        ("/%C3%A9t%c3%a9", ("été",)),
        ("/%76%31", ("v1",)),
        ("/...", ("...",)),
        ("/a@b:c,d=e+f!$&'()*~", ("a@b:c,d=e+f!$&'()*~",)),
        ("/a?b#c", ("a",)),
    ],
)
def test_a_path_is_decoded_once_segment_by_segment(target: str, segments: tuple[str, ...]) -> None:
    assert segments_of(target) == segments


@pytest.mark.parametrize(
    "target",
    [
        "",
        "*",
        "v1/tools",
        "http://evil.example/v1",
        "?a",
        "//evil.example/v1",
        "/v1//tools",
        "/v1/./tools",
        "/v1/../tools",
        "/v1/..",
        "/v1/.",
        "/v1/%2e%2e/tools",
        "/v1/.%2E/tools",
        "/v1/%2e/tools",
        "/v1/a%2Fb",
        "/v1/a%2fb",
        "/v1/a\\b",
        "/v1/a%5Cb",
        "/v1/a%00b",
        "/v1/a%0Ab",
        "/v1/a%7Fb",
        "/v1/%252e%252e",
        "/v1/a%25",
        "/v1/a%3Bb",
        "/v1/a;b/c",
        "/v1/..;/c",
        "/v1/a%3Fb",
        "/v1/a%23b",
        "/v1/a#b",
        "/v1/%",
        "/v1/%4",
        "/v1/%zz",
        "/v1/%u0041",
        "/v1/%ff",
        "/v1/%c0%ae",
        "/v1/%C3",
        "/v1/a b",
        "/v1/a\tb",
        "/v1/a\nb",
        "/v1/é",
        '/v1/"',
        "/v1/{a}",
        "/v1/a|b",
        "/" + "a" * TARGET_LENGTH_MAX,
        "/?" + "a" * TARGET_LENGTH_MAX,
    ],
)
def test_a_path_that_two_servers_read_differently_is_refused(target: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        segments_of(target)
    assert refused.value.field == "path"
    assert "\n" not in refused.value.message


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=4))
def test_what_is_read_has_no_second_reading(segments: list[str]) -> None:
    """Each segment that comes out of an encoded path is the one that went in, and could not be a path again."""
    target = "".join("/" + "".join(f"%{byte:02x}" for byte in segment.encode()) for segment in segments)
    try:
        read = segments_of(target)
    except ValidationFailed:
        return
    assert list(read) == segments
    for segment in read:
        assert segment not in {".", ".."}
        assert not set(segment) & set("/\\%;?#\0\r\n")


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("api.example.com", "api.example.com"),
        ("API.Example.COM:8443", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("api.example.com.:443", "api.example.com"),
        ("api.example.com:", "api.example.com"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "[::1]"),
        ("[::1]", "[::1]"),
        ("my_service", "my_service"),
    ],
)
def test_a_host_has_no_port_and_no_capitals(written: str, host: str) -> None:
    assert host_of(written) == host


@pytest.mark.parametrize(
    "written",
    ["", ".", "a..b", "-a", "a-", "a b", "a/b", "a@b", "a,b", "a:b", "a:80:80", "é.com", "a.com..", "[::1", "x" * 254],
)
def test_what_is_no_host_is_refused(written: str) -> None:
    with pytest.raises(ValidationFailed):
        host_of(written)
