"""The outermost layer: names each request and each socket, and logs and counts how it ended.

A socket that was let in logs its own opening and end (`chat.live.socket_consumer`): only it knows what became of it.
"""

import logging
import re
import secrets
import time
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.http import HttpRequest

from accounts import tracing
from qader import metrics

logger = logging.getLogger(__name__)

ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
CLIENT_GONE = 499  # before it was answered; by nginx's convention. A 500 would ring an alarm that any client can ring
QUIET = frozenset({"healthz", "readyz", "metrics"})  # asked all day long by machines


class Access:
    """Wraps the whole application."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve one request or one socket."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _request(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        trace = tracing.begin("request", _id(scope))
        begin = time.monotonic()
        status = 500  # what the server says where nothing is answered
        begun = False

        async def hear() -> Any:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect" and not begun:
                status = CLIENT_GONE
            return message

        async def answer(message: dict[str, Any]) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                message = message | {"headers": [*message.get("headers", ()), (b"x-request-id", trace.id.encode())]}
            await send(message)

        try:
            await self.application(scope, hear, answer)
        finally:
            seconds = time.monotonic() - begin
            if status < 400 and scope["path"].startswith(settings.STATIC_URL):
                trace.route = "static"
            method = scope["method"] if scope["method"] in metrics.METHODS else "other"
            metrics.answered(trace.route, method, status, seconds)
            level = logging.DEBUG if trace.route in QUIET else logging.INFO
            fields = {"method": method, "route": trace.route, "status": status, "ms": round(seconds * 1000, 1)}
            logger.log(level, "request", extra={"fields": fields})

    async def _socket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        trace = tracing.begin("connection", _id(scope))
        try:
            await self.application(scope, receive, send)
        finally:
            if trace.refusal is not None:
                metrics.REFUSED.labels(trace.refusal).inc()
                logger.info("socket refused", extra={"fields": {"reason": trace.refusal}})


def _id(scope: dict[str, Any]) -> str:
    """Return the X-Request-ID that a trusted proxy gave, else a new one."""
    if settings.TRUST_PROXY:
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        if len(given) == 1 and ID.fullmatch(given[0]):
            return str(given[0].decode())
    return secrets.token_hex(8)


class RouteMiddleware:
    """Notes the name of the URL pattern of a request: a path would hold ids, or whatever a client makes up.

    Before the view is called, whose end `HttpDeadline` may not wait for.
    """

    sync_capable = async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        self.process_view: Any = _note_route
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)
            self.process_view = _note_route_async  # else Django would hop to a thread for it

    def __call__(self, request: HttpRequest) -> Any:
        """Answer as the rest does."""
        return self.get_response(request)


def _note_route(request: HttpRequest, *_: Any) -> None:
    if request.resolver_match is not None:
        tracing.trace().route = request.resolver_match.view_name or tracing.UNMATCHED


async def _note_route_async(request: HttpRequest, *_: Any) -> None:
    _note_route(request)
