"""The link in each e-mail that switches e-mails off, without a session (RFC 8058)."""

from django.conf import settings
from django.core import signing
from django.urls import reverse

SALT = "notices.unsubscribe"


def unsubscribe_url(user_id: int) -> str:
    """Return the address of this user's link; it stays valid."""
    token = signing.Signer(salt=SALT, sep=".").sign(str(user_id))
    return settings.BACKEND_URL + reverse("api:v1:notify:unsubscribe", args=[token])


def user_of(token: str) -> int | None:
    """Return the id of the user whose link this is; None for a wrong token."""
    try:
        return int(signing.Signer(salt=SALT, sep=".").unsign(token))
    except (signing.BadSignature, ValueError):
        return None
