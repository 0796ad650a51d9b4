"""Log-in by name or e-mail address, and the user of a session, for HTTP and sockets."""

from functools import reduce
from operator import or_
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.db.models import Q
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from rest_framework import authentication
from rest_framework.request import Request

from accounts.models import User
from accounts.names import folded_name, spellings


class NameOrEmailBackend(ModelBackend):
    """Log-in by user name, or by an e-mail address that exactly one user has; its letter case does not matter.

    `accounts.names` says which differences of spelling do not matter in either.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the active user with this name or address and password, or None; both take the same time."""
        if username is None or password is None or "\0" in username:
            return None
        user = self._by_name(username) or self._by_email(username)
        if user is None:
            User().set_password(password)  # takes as long as a check: the time must not tell which names exist
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None

    def get_user(self, user_id: int) -> User | None:
        """Return the active user with their profile, in one query, or None."""
        user = User.objects.select_related("profile").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None

    @staticmethod
    def _by_name(typed: str) -> User | None:
        names = spellings(typed)
        found = User.objects.filter(username__in=names)
        return min(found, key=lambda user: names.index(user.username), default=None)

    @staticmethod
    def _by_email(typed: str) -> User | None:
        if "@" not in typed:
            return None
        # Also in lower case: SQLite's `iexact` knows the case of ASCII letters only.
        addresses = [Q(email__iexact=address) for address in spellings(typed) + spellings(typed.lower())]
        # PostgreSQL takes more letters for equal than `folded_name`, by which failed tries are counted.
        found = [user for user in User.objects.filter(reduce(or_, addresses)) if _same(user.email, typed)]
        return found[0] if len(found) == 1 else None


def _same(email: str, typed: str) -> bool:
    return folded_name(email) == folded_name(typed)


class SessionAuthentication(authentication.SessionAuthentication):
    """DRF's session authentication, but with 401 instead of 403 for requests that are not signed in."""

    def authenticate_header(self, request: Request) -> str:
        """Return the WWW-Authenticate header; DRF answers 401 if there is one."""
        return "Session"

    def enforce_csrf(self, request: Request) -> None:
        """Raise 403 without a CSRF token, in the header or in a form; a JSON body is not read for it."""
        super().enforce_csrf(cast(Request, request._request))


def session_user(session: SessionBase) -> User | AnonymousUser:
    """Return the signed-in user of this session, with their profile, or AnonymousUser.

    Only reads. For a session made with a key of `SECRET_KEY_FALLBACKS`, Django's own `get_user` changes the session
    key: a socket cannot send it to the browser, and parallel requests are signed out. Channels' deletes the session.
    """
    user_id = session_user_id(session)
    user = NameOrEmailBackend().get_user(user_id) if user_id is not None else None
    return user if user is not None and session_fits(session, user) else AnonymousUser()


def session_user_id(session: SessionBase) -> int | None:
    """Return the user id in this session. `session_fits` decides whether the session is still valid for that user."""
    if session.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
        return None
    return int(session[SESSION_KEY])


def session_fits(session: Any, user: User) -> bool:
    """Whether a session's data, a mapping, belongs to this user and their present password."""
    given = session.get(HASH_SESSION_KEY, "")
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    return session.get(SESSION_KEY) == str(user.pk) and any(constant_time_compare(given, known) for known in hashes)


def renew_session_hash(session: SessionBase, user: User) -> None:
    """Renew the hash of a session made with a key of `SECRET_KEY_FALLBACKS`; the session key stays."""
    present = user.get_session_auth_hash()
    if session.get(HASH_SESSION_KEY) != present:
        session[HASH_SESSION_KEY] = present
