"""The outermost ASGI wrapper: gives each request and socket an id, logs how it ended, and counts it.

An accepted socket logs its own opening and end (in `chat`), because only the consumer knows them.
"""

import logging
import re
import secrets
import time
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from accounts import tracing
from qader.http.asgi import single_header
from qader.observability import metrics

logger = logging.getLogger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left before the answer; 500 would raise an alert
DEBUG_ROUTES = frozenset({"healthz", "readyz", "metrics"})  # requested every few seconds, so logged as DEBUG


class AccessLog:
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
        trace = tracing.begin("request", _request_id(scope))
        begin = time.monotonic()
        status = 500  # the server answers 500 if the application answers nothing
        answered = False

        async def receive_noted() -> Any:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect" and not answered:
                status = CLIENT_CLOSED_REQUEST
            return message

        async def send_noted(message: dict[str, Any]) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                message = message | {"headers": [*message.get("headers", ()), (b"x-request-id", trace.id.encode())]}
            await send(message)

        try:
            await self.application(scope, receive_noted, send_noted)
        finally:
            seconds = time.monotonic() - begin
            if status < 400 and scope["path"].startswith(settings.STATIC_URL):
                trace.route = "static"
            method = scope["method"] if scope["method"] in metrics.METHODS else "other"
            metrics.count_request(trace.route, method, status, seconds)
            level = logging.DEBUG if trace.route in DEBUG_ROUTES else logging.INFO
            fields = {"method": method, "route": trace.route, "status": status, "ms": round(seconds * 1000, 1)}
            logger.log(level, "request", extra={"fields": fields})

    async def _socket(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        trace = tracing.begin("connection", _request_id(scope))
        try:
            await self.application(scope, receive, send)
        finally:
            if trace.refusal is not None:
                metrics.REFUSED.labels(trace.refusal).inc()
                logger.info("socket refused", extra={"fields": {"reason": trace.refusal} | trace.refused})


def _request_id(scope: dict[str, Any]) -> str:
    """Return the X-Request-ID of a trusted proxy, otherwise a new id."""
    given = single_header(scope, b"x-request-id") if settings.TRUST_PROXY else None
    return given if given and REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


class RouteMiddleware:
    """Notes the name of the URL pattern for log and metrics, which must not contain the path and its ids.

    Before the view runs, because `HttpDeadline` may answer before the view returns.
    """

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        """Return the answer unchanged."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> None:
        """Note it."""
        if request.resolver_match is not None:
            tracing.trace().route = request.resolver_match.view_name or tracing.UNMATCHED
