"""The admin's site: Django's, with our log-in."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS
from django.http import HttpRequest, HttpResponse

from accounts.devices import set_cookie
from accounts.forms import LoginForm


class AdminSite(admin.AdminSite):
    """Django's own, with the limits of `auth/login/`."""

    login_form = LoginForm
    site_header = site_title = "Qader"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the form or sign in, and remember the browser; 429 or 503 if the password was not checked."""
        response = super().login(request, extra_context)
        set_cookie(request, response)
        form = getattr(response, "context_data", {}).get("form")
        if form is not None and form.retry_after is not None:
            response.status_code = 503 if form.has_error(NON_FIELD_ERRORS, "busy") else 429
            response["Retry-After"] = str(form.retry_after)
        return response
