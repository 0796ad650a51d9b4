"""Django's ASGI application, except that a malformed head of a request is refused instead of failing."""

import codecs
from collections.abc import Mapping
from typing import Any, cast

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponse
from django.http.request import MediaType
from django.utils.functional import cached_property

from qader.http.api import as_api_answer

# Python decodes these in Python itself, holding all other threads: 250 kB of Punycode take it a second and a half.
SLOW_CHARSETS = frozenset({"punycode", "idna"})
MAX_CONTENT_TYPE = 1000  # characters; Python parses its parameters in quadratic time, 16 kB in 0.05 s


class Request(ASGIRequest):
    """A request whose Accept header may be anything, and whose charset is one that can be read quickly."""

    def _set_content_type_params(self, meta: Mapping[str, Any]) -> None:
        """Take the charset of the body from its Content-Type; raises `LookupError` or `ValueError` for a strange one.

        Django takes any codec of Python, and DRF, forms and the query are then decoded by it.
        """
        if len(meta.get("CONTENT_TYPE", "")) > MAX_CONTENT_TYPE:
            raise ValueError("Content-Type is too long")
        super()._set_content_type_params(meta)  # type: ignore[misc] # not in the stubs
        if self.encoding is not None:
            "".encode(self.encoding)  # raises for a codec that is not for text, such as bz2
            if codecs.lookup(self.encoding).name in SLOW_CHARSETS:
                raise LookupError(self.encoding)

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
