"""Who is asking: log-in by name or e-mail, and the user of a session, for HTTP and sockets alike."""

from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from rest_framework import authentication
from rest_framework.request import Request

from accounts.models import User


class NameOrEmailBackend(ModelBackend):
    """Signs in by user name or, where exactly one user has it, by e-mail address; letter case of the latter is free."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the active user with this name or address and password, or None after the same time either way."""
        if username is None or password is None or "\0" in username:
            return None
        user = User.objects.filter(username=username).first() or self._by_email(username)
        if user is None:
            User().set_password(password)  # takes as long as checking a password: nobody learns which names exist
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None

    def get_user(self, user_id: int) -> User | None:
        """Return the active user with their profile, in one query, or None."""
        user = User.objects.select_related("profile").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None

    @staticmethod
    def _by_email(address: str) -> User | None:
        found = list(User.objects.filter(email__iexact=address)[:2]) if "@" in address else []
        return found[0] if len(found) == 1 else None


class SessionAuthentication(authentication.SessionAuthentication):
    """DRF's session authentication, answering 401 instead of 403 to whoever is not signed in."""

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate value, whose presence makes DRF answer 401."""
        return "Session"


def session_user(session: SessionBase) -> User | AnonymousUser:
    """Return the user whom this session signs in, with their profile, or AnonymousUser.

    Only reads. Django's own `get_user` gives a session made under a key of `SECRET_KEY_FALLBACKS` a new name, which
    a socket has no cookie to tell and which signs out a second request on its way, and Channels' flushes it.
    """
    user_id = session_user_id(session)
    user = NameOrEmailBackend().get_user(user_id) if user_id is not None else None
    return user if user is not None and session_fits(session, user) else AnonymousUser()


def session_user_id(session: SessionBase) -> int | None:
    """Return the id of the user whom this session names; whether it still signs them in, `session_fits` tells."""
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    return int(session[SESSION_KEY])


def session_fits(session: Any, user: User) -> bool:
    """Whether a session's data, a mapping, was made for this user under their present password."""
    given = session.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return session.get(SESSION_KEY) == str(user.pk) and any(constant_time_compare(given, known) for known in hashes)


def renew_session_hash(session: SessionBase, user: User) -> None:
    """Sign a session made under a key of `SECRET_KEY_FALLBACKS` with the present key; its name stays."""
    present = user.get_session_auth_hash()
    if session.get(HASH_SESSION_KEY) != present:
        session[HASH_SESSION_KEY] = present
