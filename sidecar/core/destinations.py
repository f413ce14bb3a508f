"""Which addresses on the network a caller may make the sidecar speak to: public ones, and nothing else.

A webhook's URL is chosen by a tenant and called from inside the operator's network, so everything that is not plainly
a public unicast address is refused, also where it hides an IPv4 address in an IPv6 one. Names are resolved elsewhere;
what they resolve to is judged here.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
"""The only part of IPv6 that is handed out for the public network (RFC 4291 section 2.4)."""

NAT64: Final = IPv6Network("64:ff9b::/96")
"""IPv4 behind a translator (RFC 6052): as public as the IPv4 address at its end."""

TUNNELS: Final = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4: their packets end at an IPv4 address that nobody looked at."""


def is_public(address: Address) -> bool:
    """Whether ``address`` is a public unicast address, and so is the IPv4 address in it where there is one."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast and not address.is_reserved
    embedded = address.ipv4_mapped or (IPv4Address(address.packed[-4:]) if address in NAT64 else None)
    if embedded is not None:
        return is_public(embedded)
    return address in GLOBAL_UNICAST and address.is_global and not any(address in tunnel for tunnel in TUNNELS)


def literal(host: str) -> Address | None:
    """Return the address that ``host`` writes in its one usual form; None for a name and for any other spelling."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_disguised(host: str) -> bool:
    """Whether a host that is no ``literal`` would still be read as an IPv4 address: ``127.1``, ``0x7f000001``.

    As in the URL standard's host parser: a host whose last label is a number is an address.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return literal(host) is None and (last.isdigit() or last.startswith("0x"))
