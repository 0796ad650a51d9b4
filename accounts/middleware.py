"""Sets the user of every HTTP request and of every socket's scope."""

from typing import Any

from asgiref.sync import sync_to_async
from channels.sessions import CookieMiddleware
from django.conf import settings
from django.contrib.auth import middleware
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import tracing
from accounts.authentication import renew_session_hash, session_user
from accounts.models import User
from accounts.session_store import SessionStore


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Sets `request.user`, read from the database on first use. Django's own, except for `session_user`."""

    def process_request(self, request: HttpRequest) -> None:
        """Set the user of this request."""
        request.user = SimpleLazyObject(lambda: _request_user(request))  # type: ignore[assignment]
        request.auser = sync_to_async(lambda: request.user)


def _request_user(request: HttpRequest) -> User | AnonymousUser:
    user = session_user(request.session)
    if isinstance(user, User):
        tracing.trace().user_id = user.pk
        renew_session_hash(request.session, user)
    return user


def AuthMiddlewareStack(inner: Any) -> Any:  # noqa: N802 - the name that Channels' users know
    """Give `inner` a scope with `cookies`, `session` and `user`.

    Unlike Channels' function of this name it does not query the database: the consumer reads `user` in its own thread
    pool, not in the one thread that all sockets of a process would share. Channels' session middleware is left out: it
    checks at every sent frame whether the session must be saved, and a socket never changes its session.
    """

    async def with_user(scope: dict[str, Any], receive: Any, send: Any) -> Any:
        session = SessionStore(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        # In the copy that Channels has made: a second one would stay as long as the socket.
        scope |= {"session": session, "user": SimpleLazyObject(lambda: session_user(session))}
        return await inner(scope, receive, send)

    return CookieMiddleware(with_user)
