"""The IP address of a client."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest


def parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, an IPv4 one for an IPv4-mapped IPv6 one; None for other text, e.g. from a Unix socket."""
    try:
        parsed = ip_address(text)
    except ValueError:
        return None
    return parsed.ipv4_mapped or parsed if isinstance(parsed, IPv6Address) else parsed


def client_address(request: HttpRequest) -> str:
    """Return the client's address; for IPv6 its /64 network, because one customer usually has all of it.

    Behind a trusted proxy it is X-Real-IP, which the proxy overwrites. Clients could forge X-Forwarded-For.
    """
    text: str = request.META.get("REMOTE_ADDR", "")
    if settings.TRUST_PROXY:
        text = request.headers.get("X-Real-IP", text).strip()
    address = parse_address(text)
    if isinstance(address, IPv6Address):
        address = ip_network((address, 64), strict=False).network_address
    return str(address) if address else "unknown"
