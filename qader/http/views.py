"""The chat page at `/`, and the answers 404 and 500."""

import sys
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.html import json_script
from django.utils.translation import get_language, gettext
from django.views import defaults
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.hashers import HashQueueFullError
from accounts.models import User
from chat.errors import RETRY_SECONDS, UnavailableError
from chat.management.commands.seed_demo import PASSWORD, PEOPLE
from chat.runtime.database import note_refusal
from chat.runtime.database_errors import temporary_trouble
from qader.http.api import API_PREFIX, as_api_answer
from qader.http.languages import script_texts
from qader.http.plain_page import plain_page

# The modules that page.js imports, directly or not: preloaded, so that the browser does not find them one by one.
MODULES = [
    f"chat/{name}.js"
    for name in (
        "announcer",
        "client",
        "composer",
        "connection",
        "conversation-view",
        "elements",
        "inbox-view",
        "links",
        "menu",
        "message-keys",
        "message-list",
        "message-view",
        "report-dialog",
        "notices",
        "scroll-place",
        "sign-in",
        "sign-out",
        "texts",
    )
]


class UnescapedEncoder(DjangoJSONEncoder):
    """JSON with Arabic letters as they are: two bytes each in place of six."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"ensure_ascii": False})


@never_cache
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Answer the chat page; in development it offers the demo accounts."""
    names = [person.username for person in PEOPLE] if settings.DEBUG else []
    accounts = User.objects.filter(username__in=names, profile__isnull=False).select_related("profile").order_by("pk")
    language = get_language() or settings.LANGUAGE_CODE
    (other,) = (code for code, _ in settings.LANGUAGES if code != language)
    context = {
        "demo_accounts": accounts if settings.DEBUG else [],
        "demo_password": PASSWORD,
        "has_pushes": bool(settings.VAPID_PRIVATE_KEY),
        "has_session": settings.SESSION_COOKIE_NAME in request.COOKIES,  # else the page need not ask
        "limit": settings.CHAT_MAX_MESSAGE_LENGTH,
        "modules": MODULES,
        "other_language": other,
        "other_language_name": dict(settings.LANGUAGES)[other],
        "texts": json_script(script_texts(language), "texts", UnescapedEncoder),
    }
    response = render(request, "chat/page.html", context)
    host = request.get_host()
    # In Safari, 'self' does not include WebSockets of the same host.
    response["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        # The icon that shows the number of unread messages is a data URL.
        "img-src 'self' data:; manifest-src 'self'; "
        f"connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types notices"
    )
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400."""
    return _error(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return _error(request, 403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404."""
    return _error(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500, or 503 if the database or the queue for passwords is unavailable."""
    error = sys.exc_info()[1]
    trouble = temporary_trouble(error, "http") if error else None  # e.g. when a session is saved
    note_refusal(trouble)
    if trouble or isinstance(error, HashQueueFullError):  # e.g. when a password is set in the admin
        return _unavailable(request)
    return _error(request, 500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    error = UnavailableError()
    if not request.path_info.startswith(API_PREFIX):
        return plain_page(gettext("The server is busy. Try again in a moment."), error.status, RETRY_SECONDS)
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return JsonResponse({"detail": error.text, "code": error.code}, status=error.status, headers=headers)


def _error(request: HttpRequest, status: int) -> HttpResponse:
    """Return a page that names the error; below `/api/` it is JSON.

    Django's own views would read the body to look for a CSRF token, and fail if it is malformed.
    """
    page = defaults.ERROR_PAGE_TEMPLATE % {"title": HTTPStatus(status).phrase, "details": ""}
    return as_api_answer(request.path_info, HttpResponse(page, status=status))
