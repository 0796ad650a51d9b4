"""Headers of all answers: the security policies that Django's SecurityMiddleware does not set, and the date."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import http_date

# Our pages, the admin included, load only our own files. A view that needs another policy sets its own header.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)


def policies(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Add the policies, unless the view has set them, and the date, which corrects clients' clocks."""
    return lambda request: _with_policies(get_response(request))


def _with_policies(response: HttpResponseBase) -> HttpResponseBase:
    response.headers["Date"] = http_date()
    response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
    # Django's debug pages have inline styles and scripts.
    if not (settings.DEBUG and response.status_code in {404, 500}):
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    return response
