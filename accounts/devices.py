"""The device cookie: it says which accounts have signed in from this browser before.

OWASP, "Slow Down Online Guessing Attacks with Device Cookies": failed log-ins of strangers must not keep somebody from
signing in at the browser that they always use.
"""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import salted_hmac

from accounts.models import User
from accounts.names import folded_name

COOKIE_NAME = "device"
LIFETIME = 365 * 24 * 3600  # s, from the last log-in
MAX_NAMES = 20  # that one browser remembers: ten people with a user name and an e-mail address each
SALT = "accounts.devices"


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that somebody has signed in with: a random id, and hashes of the names that they may type."""

    id: str
    names: tuple[str, ...] = ()

    def knows(self, name: str) -> bool:
        """Whether the account of this name has signed in here."""
        keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
        return any(_hash(name, key) in self.names for key in keys)

    def remember(self, *names: str) -> "Device":
        """Return the device as it is after a log-in by an account with these names."""
        hashes = [_hash(name, settings.SECRET_KEY) for name in names]
        return Device(self.id, tuple(dict.fromkeys([*hashes, *self.names]))[:MAX_NAMES])


def device_of(request: HttpRequest) -> Device | None:
    """Return the device of a request; None without a cookie, or for one that we did not sign."""
    try:
        text = _signer().unsign(request.COOKIES.get(COOKIE_NAME, ""), max_age=LIFETIME)
    except signing.BadSignature:
        return None
    device_id, *names = text.split(".")
    return Device(device_id, tuple(names))


def remember_device(request: HttpRequest, user: User) -> None:
    """Have the answer to this request tell the browser that `user` has signed in with it."""
    device = device_of(request) or Device(secrets.token_urlsafe(12))
    request.device = device.remember(user.username, *filter(None, [user.email]))  # type: ignore[attr-defined]


def set_cookie(request: HttpRequest, response: HttpResponse) -> None:
    """Set the cookie if `remember_device` was called for this request."""
    device: Device | None = getattr(request, "device", None)
    if device is not None:
        response.set_cookie(
            COOKIE_NAME,
            _signer().sign(".".join([device.id, *device.names])),
            max_age=LIFETIME,
            domain=settings.SESSION_COOKIE_DOMAIN,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )


def _signer() -> signing.TimestampSigner:
    return signing.TimestampSigner(salt=SALT)


def _hash(name: str, key: str) -> str:
    """Return 16 characters that tell nobody who reads the cookie who signed in here."""
    return salted_hmac(SALT, folded_name(name), key, algorithm="sha256").hexdigest()[:16]
