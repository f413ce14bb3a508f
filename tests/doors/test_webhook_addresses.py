"""Which URLs a tenant may have called: every way of pointing inwards is refused when it is given."""

from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.errors import ValidationFailed
from sidecar.doors.webhooks.addresses import URL_LENGTH_MAX, anywhere, public_only

PUBLIC = [
    "https://example.com",
    "https://example.com/hook?key=value&more=%20",
    "https://EXAMPLE.com:443/",
    "https://hooks.example.com:8443/a/b",
    "https://8.8.8.8/hook",
    "https://[2606:4700::1111]/hook",
    "https://xn--mnchen-3ya.de/",
    "https://example.com./",
    "https://xn--zz99.example.com/",
]

INWARDS = {
    "http": "http://example.com/",
    "another scheme": "ftp://example.com/",
    "a file": "file:///etc/passwd",
    "localhost": "https://localhost/",
    "localhost with a dot": "https://localhost./",
    "below localhost": "https://a.localhost/",
    "one label": "https://metadata/",
    "internal": "https://metadata.google.internal/",
    "local": "https://printer.local/",
    "loopback": "https://127.0.0.1/",
    "loopback with a port": "https://127.0.0.1:8443/",
    "private": "https://10.0.0.8/",
    "metadata": "https://169.254.169.254/latest/",
    "carrier NAT": "https://100.64.0.1/",
    "decimal": "https://2130706433/",
    "hexadecimal": "https://0x7f000001/",
    "hexadecimal in parts": "https://0x7f.0x0.0x0.0x1/",
    "octal": "https://0177.0.0.1/",
    "short": "https://127.1/",
    "short with a dot": "https://127.1./",
    "v6 loopback": "https://[::1]/",
    "v6 mapped": "https://[::ffff:127.0.0.1]/",
    "v6 mapped in hexadecimal": "https://[::ffff:7f00:1]/",
    "v6 unique local": "https://[fd12::1]/",
    "v6 link-local": "https://[fe80::1]/",
    "v6 with a zone": "https://[fe80::1%25eth0]/",
    "v6 NAT64": "https://[64:ff9b::7f00:1]/",
    "v6 6to4": "https://[2002:7f00:1::]/",
    "mail": "https://example.com:25/",
    "an old port": "https://example.com:80/",
}

NO_URL = {
    "empty": "",
    "no scheme": "example.com/hook",
    "no host": "https:///hook",
    "user": "https://user@example.com/",
    "user and password": "https://user:secret@example.com/",
    "empty user": "https://@example.com/",
    "backslash": "https://example.com\\@10.0.0.1/",
    "space": "https://exa mple.com/",
    "line break": "https://example.com/\r\nx: y",
    "fragment": "https://example.com/#part",
    "empty fragment": "https://example.com/#",
    "escaped host": "https://%31%32%37.0.0.1/",
    "full-width digits": "https://１２７.0.0.1/",  # noqa: RUF001 -- digits that some readers take for ASCII
    "port 0": "https://example.com:0/",
    "port too large": "https://example.com:65536/",
    "open bracket": "https://[::1/",
    "no address in brackets": "https://[example.com]/",
    "port no number": "https://example.com:http/",
    "too long": "https://example.com/" + "a" * URL_LENGTH_MAX,
}


@pytest.mark.parametrize("url", PUBLIC)
def test_a_public_url_may_be_called(url: str) -> None:
    public_only(url)
    anywhere(url)


@pytest.mark.parametrize("url", INWARDS.values(), ids=INWARDS.keys())
def test_a_url_that_points_inwards_may_not(url: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        public_only(url)
    assert refused.value.field == "url"


@pytest.mark.parametrize("url", NO_URL.values(), ids=NO_URL.keys())
def test_what_is_no_plain_url_is_refused_everywhere(url: str) -> None:
    for check in (public_only, anywhere):
        with pytest.raises(ValidationFailed) as refused:
            check(url)
        assert refused.value.field == "url"
        assert "secret" not in refused.value.message


def test_local_development_may_call_plain_http_anywhere_and_nothing_but_http() -> None:
    for url in ("http://127.0.0.1:8080/hook", "http://localhost/", "https://10.0.0.1:25/"):
        anywhere(url)
    with pytest.raises(ValidationFailed):
        anywhere("ftp://127.0.0.1/")


def test_the_library_that_calls_reads_the_same_host() -> None:
    """The guard judges what `httpx` reads; should that change, this fails."""
    assert httpx.URL("https://example.com:8443/x").host == "example.com"
    assert httpx.URL("https://[::ffff:7f00:1]/").host == "::ffff:7f00:1"


@given(st.text(st.characters(codec="ascii"), max_size=40), st.sampled_from(["", "http://", "https://", "https://["]))
def test_any_text_is_accepted_or_refused(text: str, start: str) -> None:
    for check in (public_only, anywhere):
        with suppress(ValidationFailed):
            check(start + text)
