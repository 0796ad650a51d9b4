"""The admin's site: Django's, with our log-in."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from accounts.devices import set_cookie
from accounts.forms import LoginForm


class AdminSite(admin.AdminSite):
    """Django's own, with the limits of `auth/login/`."""

    login_form = LoginForm
    site_header = site_title = "Qader"

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the form or sign in, and remember the browser."""
        response = super().login(request, extra_context)
        set_cookie(request, response)
        return response
