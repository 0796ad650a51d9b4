"""The budgets of HTTP: how often a user, or an address, may ask for what is expensive.

A signed-in user has `CHAT_READ_LIMIT`, wherever the requests come from: a frontend's own server may ask for many.
Somebody who is not signed in has `ADDRESS_LIMIT`, for reads and for log-ins each; a browser that somebody has signed in
with before counts for itself. Sends have `CHAT_RATE_LIMIT` (`chat.services`).
"""

import math
from collections.abc import Callable

from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext

from accounts.addresses import client_address
from accounts.devices import device_of
from chat.runtime import metrics
from chat.runtime.event_loop import calling_loop
from chat.runtime.rate_limit import address_limit, read_limit
from qader.http.plain_page import plain_page

READS = ("/api/v1/chat/", "/api/schema/", "/api/docs/", "/api/asyncapi.yaml")
WRITES = ("/mark-read/", "/done/", "/report/")
NOTICES = "/api/v1/notify/"  # each of them asks the database
ME = "/api/v1/auth/me/"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
LOGINS = ("/api/v1/auth/login/", "/admin/login/")


def is_read(method: str, path: str) -> bool:
    """Whether this request costs a token of the reads; the small changes that are no sends cost as much."""
    if path.startswith(READS):
        return method in {"GET", "HEAD"} or path.endswith(WRITES)
    return path.startswith(NOTICES) or (path == ME and method not in SAFE)


def is_login(method: str, path: str) -> bool:
    """Whether this request is a log-in."""
    return method == "POST" and path in LOGINS


def budgets(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Answer 429 beyond a budget. The limits belong to a server's event loop: without one, nobody is refused."""

    def within_budget(request: HttpRequest) -> HttpResponse:
        wait = _wait(request) if calling_loop() is not None else 0
        return _refusal(request, math.ceil(wait)) if wait else get_response(request)

    return within_budget


def _wait(request: HttpRequest) -> float:
    """Take a token for this request; return 0, or the seconds until there will be one."""
    method, path = request.method or "", request.path_info
    if is_login(method, path):
        device = device_of(request)
        return address_limit().take(f"login:device-{device.id}" if device else f"login:{client_address(request)}")
    if not is_read(method, path):
        return 0.0
    try:
        user_id = request.user.pk
    except Error:
        return 0.0  # the view will find the same, and answer it
    return address_limit().take(f"read:{client_address(request)}") if user_id is None else read_limit().take(user_id)


def _refusal(request: HttpRequest, seconds: int) -> HttpResponse:
    metrics.ERRORS_TOLD.labels("rate_limited", "rest").inc()
    if not request.path_info.startswith("/api/"):
        return plain_page(gettext("Too many requests. Try again in a moment."), 429, seconds)
    body = {"detail": "Too many requests.", "code": "rate_limited"}
    return JsonResponse(body, status=429, headers={"Retry-After": str(seconds)})
