"""The budgets of HTTP: how often a user, or an address, may ask for what is expensive.

A signed-in user has `CHAT_READ_LIMIT`, wherever the requests come from: a frontend's own server may ask for many.
Somebody who is not signed in has `ADDRESS_LIMIT`, for reads and for log-ins each; a browser that somebody has signed in
with before counts for itself. Sends have `CHAT_RATE_LIMIT` (`chat.services`).
"""

import math
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import Error
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import sync_and_async_middleware
from django.utils.translation import gettext

from accounts.addresses import client_address
from accounts.devices import device_of
from chat.runtime import metrics
from chat.runtime.rate_limit import address_limit, read_limit
from qader.http.plain_page import plain_page

READS = ("/api/v1/chat/", "/api/schema/", "/api/docs/", "/api/asyncapi.yaml")
WRITES = ("/mark-read/", "/done/", "/report/")
ALL = "/api/v1/notify/"  # what it stores costs several queries, and an unsubscribe link is for strangers
SETTINGS = ("PATCH", "/api/v1/auth/me/")
LOGINS = ("/api/v1/auth/login/", "/admin/login/")


def is_read(method: str, path: str) -> bool:
    """Whether this request costs a token of the reads; the small changes that are no sends cost as much."""
    if path.startswith(ALL) or (method, path) == SETTINGS:
        return method != "OPTIONS"
    return path.startswith(READS) and (method in {"GET", "HEAD"} or path.endswith(WRITES))


def is_login(method: str, path: str) -> bool:
    """Whether this request is a log-in."""
    return method == "POST" and path in LOGINS


@sync_and_async_middleware
def budgets(get_response: Any) -> Any:
    """Answer 429 beyond a budget. The limits belong to a server's event loop: without one, nobody is refused."""
    if not iscoroutinefunction(get_response):
        return get_response

    async def within_budget(request: HttpRequest) -> HttpResponse:
        wait = await _wait(request)
        if wait:
            return _refusal(request, math.ceil(wait))
        response: HttpResponse = await get_response(request)
        return response

    return within_budget


async def _wait(request: HttpRequest) -> float:
    """Take a token for this request; return 0, or the seconds until there will be one."""
    method, path = request.method or "", request.path_info
    if is_login(method, path):
        device = device_of(request)
        return address_limit().take(f"login:device-{device.id}" if device else f"login:{client_address(request)}")
    if not is_read(method, path):
        return 0.0
    try:
        user_id = await sync_to_async(_user_id)(request)
    except Error:
        return 0.0  # the view will find the same, and answer it
    return address_limit().take(f"read:{client_address(request)}") if user_id is None else read_limit().take(user_id)


def _user_id(request: HttpRequest) -> int | None:
    return request.user.pk


def _refusal(request: HttpRequest, seconds: int) -> HttpResponse:
    metrics.ERRORS_TOLD.labels("rate_limited", "rest").inc()
    if not request.path_info.startswith("/api/"):
        return plain_page(gettext("Too many requests. Try again in a moment."), 429, seconds)
    body = {"detail": "Too many requests.", "code": "rate_limited"}
    return JsonResponse(body, status=429, headers={"Retry-After": str(seconds)})
