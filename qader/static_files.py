"""Static files from the web process; in production under names that hold a hash, so that browsers keep them."""

from io import BytesIO
from typing import Any

from django.http import HttpRequest, HttpResponse
from whitenoise import middleware
from whitenoise.storage import CompressedManifestStaticFilesStorage


class WhiteNoiseMiddleware(middleware.WhiteNoiseMiddleware):  # type: ignore[misc] # WhiteNoise has no types
    """WhiteNoise, whose files are sent whole.

    It streams them by an iterator that is not asynchronous, which Django under ASGI reads to its end all the same, and
    warns of at every file. No setting changes that.
    """

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponse:
        """Return a file, or that it has not changed."""
        found = static_file.get_response(request.method, request.META)
        with found.file or BytesIO() as file:
            response = HttpResponse(file.read(), status=int(found.status))
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response


class ModuleStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc] # the same
    """WhiteNoise's, which also knows what JavaScript modules import from each other."""

    support_js_module_import_aggregation = True
