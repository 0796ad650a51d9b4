"""Requests that nobody looks at the answer of, or not yet: HEAD, and what browsers fetch in advance."""

from typing import Protocol

from django.http.request import HttpHeaders

# Browsers announce with these that nobody looks at the answer yet, maybe never: Sec-Purpose today, the others formerly.
PREVIEW_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
PREVIEWS = {"prefetch", "prerender", "preview"}


class AnyRequest(Protocol):
    """Django's request or DRF's."""

    method: str | None

    @property
    def headers(self) -> HttpHeaders:
        """The headers by name, in any letter case."""


def is_preview(request: AnyRequest) -> bool:
    """Whether the request must change nothing: HEAD, and what a browser fetches before anybody asks for it."""
    purposes = {request.headers.get(name, "").partition(";")[0].strip().lower() for name in PREVIEW_HEADERS}
    return request.method == "HEAD" or not purposes.isdisjoint(PREVIEWS)
