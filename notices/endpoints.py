"""Where pushes may be sent: to the services that the operator allows, and to nothing inside our own network."""

import ipaddress
import re
import socket
from typing import Any

from django.conf import settings

# A browser's own spelling: no port, no user, no address of numbers, nothing that parsers read in different ways.
ENDPOINT = re.compile(r"https://((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z][a-z0-9-]*[a-z0-9])/[!$-\[\]-~]*")


class EndpointNotAllowedError(Exception):
    """No push may be sent there."""


def host_of(endpoint: str) -> str:
    """Return the host of an allowed endpoint; raises `EndpointNotAllowedError`."""
    found = ENDPOINT.fullmatch(endpoint)
    if found is None or not _is_below(found[1], settings.PUSH_ALLOWED_HOSTS):
        raise EndpointNotAllowedError
    return found[1]


def addresses_of(host: str) -> list[Any]:
    """Return what `socket.getaddrinfo` knows of an allowed host; raises `OSError` if that is nothing.

    A browser's own service is never inside our network: where its name leads there, raises `EndpointNotAllowedError`.
    A service that the operator has named may be anywhere.
    """
    found = socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)
    if _is_below(host, settings.PUSH_SERVICES) and not all(_is_public(str(entry[4][0])) for entry in found):
        raise EndpointNotAllowedError
    return found


def _is_below(host: str, names: list[str]) -> bool:
    return any(host == name or host.endswith(f".{name}") for name in names)


def _is_public(address: str) -> bool:
    number = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(number, ipaddress.IPv6Address) and number.ipv4_mapped is not None:
        number = number.ipv4_mapped
    return number.is_global and not number.is_multicast
