"""Headers of all answers: the security policies that Django's SecurityMiddleware does not set, and the date."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import http_date

# Our pages, the admin included, load only our own files. A view that needs another policy sets its own header.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)


@sync_and_async_middleware
def policies(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Add the policies, unless the view has set them, and the date, which corrects clients' clocks."""
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            return _with_policies(await get_response(request))

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        return _with_policies(get_response(request))

    return synchronous


def _with_policies(response: HttpResponseBase) -> HttpResponseBase:
    response.headers["Date"] = http_date()
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    # Django's debug pages have inline styles and scripts.
    if not (settings.DEBUG and response.status_code in {404, 500}):
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return response
