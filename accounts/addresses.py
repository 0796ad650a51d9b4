"""The IP address of a client."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import HttpRequest


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, an IPv4 one for an IPv4-mapped IPv6 one; None for other text, e.g. from a Unix socket."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def client_address(asked: HttpRequest | Mapping[str, Any]) -> str:
    """Return the client's address, of a request or of a socket's scope.

    For IPv6 it is the /64 network, because one customer usually has all of it.
    Behind a trusted proxy it is X-Real-IP, which the proxy overwrites. Clients could forge X-Forwarded-For.
    """
    if isinstance(asked, HttpRequest):
        peer, given = asked.META.get("REMOTE_ADDR", ""), asked.headers.get("X-Real-IP")
    else:
        peer = (asked.get("client") or ("",))[0]
        given = {key: value.decode("latin-1") for key, value in asked.get("headers", ())}.get(b"x-real-ip")
    text = given.strip() if settings.TRUST_PROXY and given is not None else peer
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        address = ip_network((address, 64), strict=False).network_address
    return str(address) if address else "unknown"
