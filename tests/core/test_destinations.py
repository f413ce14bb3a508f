"""Which addresses a caller may make the sidecar speak to."""

import pytest

from sidecar.core.destinations import is_disguised, is_public, literal

PUBLIC = ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]

PRIVATE = {
    "loopback": "127.0.0.1",
    "all of 127": "127.255.0.9",
    "this host": "0.0.0.0",  # noqa: S104 -- an address to be refused
    "private ten": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "link-local, cloud metadata": "169.254.169.254",
    "carrier NAT": "100.64.0.1",
    "benchmark": "198.18.0.1",
    "documentation": "192.0.2.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "v6 loopback": "::1",
    "v6 unspecified": "::",
    "v6 link-local": "fe80::1",
    "v6 unique local": "fd00::1",
    "v6 site-local": "fec0::1",
    "v6 multicast": "ff02::1",
    "v6 documentation": "2001:db8::1",
    "mapped": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "compatible": "::7f00:1",
    "NAT64": "64:ff9b::7f00:1",
    "local NAT64": "64:ff9b:1::1",
    "6to4": "2002:7f00:1::",
    "6to4 of a public one": "2002:808:808::",
    "Teredo": "2001:0:7f00:1::1",
}


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_may_be_called(text: str) -> None:
    address = literal(text)
    assert address is not None
    assert is_public(address)


@pytest.mark.parametrize("text", PRIVATE.values(), ids=PRIVATE.keys())
def test_anything_else_may_not(text: str) -> None:
    address = literal(text)
    assert address is not None
    assert not is_public(address)


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0X7F.1", "127.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "1.2.3.4.5"]
)
def test_another_spelling_of_an_address_is_noticed(host: str) -> None:
    assert literal(host) is None
    assert is_disguised(host)


@pytest.mark.parametrize("host", ["example.com", "1.example.com", "10.0.0.1.example.org", "xn--p1ai", "::1", "8.8.8.8"])
def test_a_name_and_a_plain_address_are_not_disguised(host: str) -> None:
    assert not is_disguised(host)
