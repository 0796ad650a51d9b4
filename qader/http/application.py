"""Django's ASGI application, except that a malformed head of a request is refused instead of failing."""

from collections.abc import Mapping
from typing import Any, cast

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponse
from django.http.request import MediaType
from django.utils.functional import cached_property

from qader.http.api import as_api_answer


class Request(ASGIRequest):
    """A request whose Accept header may be anything."""

    @cached_property
    def accepted_types(self) -> list[MediaType]:
        """The types that the client accepts; none if the header is malformed."""
        try:
            return super().accepted_types
        except ValueError:  # e.g. a parameter in an encoding that does not exist
            return []


class HttpApplication(ASGIHandler):
    """Answers 400 if the head of a request is malformed: Django would fail on some values of Content-Type."""

    request_class = Request

    def create_request(self, scope: Mapping[str, Any], body_file: Any) -> Any:
        """Return the request, or None and the answer to a malformed one."""
        try:
            request, refused = super().create_request(scope, body_file)
        except (ValueError, LookupError):
            request, refused = None, HttpResponse(status=400)
        return request, refused and as_api_answer(scope["path"], cast(HttpResponse, refused))
