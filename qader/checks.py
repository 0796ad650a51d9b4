"""System checks for settings that contradict each other; they run before each start and in `manage.py check`."""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.http.request import split_domain_port, validate_host


@register(Tags.security)
def hosts_and_origins(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Check that the host of every trusted origin is in ALLOWED_HOSTS: Channels' validator compares with that."""
    if settings.DEBUG:
        return []
    if not settings.ALLOWED_HOSTS:
        return [Error("ALLOWED_HOSTS is empty: every request would be refused.", id="qader.E001")]
    return [
        Error(f"The host of {origin} in CSRF_TRUSTED_ORIGINS must be in ALLOWED_HOSTS, too.", id="qader.E002")
        for origin in settings.CSRF_TRUSTED_ORIGINS
        if not validate_host(split_domain_port(urlsplit(origin).netloc)[0], settings.ALLOWED_HOSTS)
    ]


@register(Tags.security)
def hosts_and_cookies(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """Check that one of our hosts is in COOKIE_DOMAIN: a browser refuses cookies for a domain that it is not on."""
    domain = (settings.SESSION_COOKIE_DOMAIN or "").removeprefix(".")
    if settings.DEBUG or not domain or any(f".{host}".endswith(f".{domain}") for host in settings.ALLOWED_HOSTS):
        return []
    return [Error(f"No host in ALLOWED_HOSTS is in COOKIE_DOMAIN, {domain}: nobody could sign in.", id="qader.E003")]
