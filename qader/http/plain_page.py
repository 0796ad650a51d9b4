"""A page with one sentence, for answers that must not depend on the database."""

from django.http import HttpResponse
from django.utils.html import format_html
from django.utils.translation import get_language


def plain_page(text: str, status: int, retry_after: int) -> HttpResponse:
    """Return the page with this status; `retry_after` is in seconds."""
    page = format_html('<!doctype html><html lang="{0}"><title>{1}</title><h1>{1}</h1></html>', get_language(), text)
    headers = {"Retry-After": str(retry_after), "Cache-Control": "no-store"}
    return HttpResponse(page, status=status, headers=headers)
