"""Static files, served by the web process; in production under names with a hash, so that browsers cache them."""

from io import BytesIO
from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise import middleware
from whitenoise.storage import CompressedManifestStaticFilesStorage


class WhiteNoiseMiddleware(middleware.WhiteNoiseMiddleware):  # type: ignore[misc] # WhiteNoise has no types
    """WhiteNoise, except that it sends each file as a whole.

    WhiteNoise streams with a synchronous iterator. Under ASGI Django reads it to its end anyway, and warns at every
    file. No setting changes that.
    """

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Answer the file, or 304 if the client has it."""
        found = static_file.get_response(request.method, request.META)
        with found.file or BytesIO() as file:
            response = HttpResponse(file.read(), status=int(found.status))
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response


class ModuleStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """WhiteNoise's storage, which also replaces names in the imports of JavaScript modules."""

    support_js_module_import_aggregation = True
