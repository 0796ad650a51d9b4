"""Static files, served by the web process; in production under names with a hash, so that browsers cache them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from fnmatch import fnmatch
from io import BytesIO
from pathlib import PurePath
from typing import Any

from django.contrib.staticfiles import finders
from django.core.files.base import ContentFile, File
from django.core.files.storage import Storage
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rcssmin import cssmin
from rjsmin import jsmin
from whitenoise import middleware
from whitenoise.storage import CompressedManifestStaticFilesStorage

PART_BYTES = 32 * 1024  # of a file in memory

# What packages bring and no page of ours loads: source maps of megabytes, and other ways to browse an API.
UNUSED = ["*.map", "*.map.gz", "drf_spectacular_sidecar/redoc/*", "*/oauth2-redirect.*", "rest_framework/*"]

OURS = "chat/"
MINIFIERS: dict[str, Callable[[str], str]] = {".js": jsmin, ".css": cssmin}


def is_unused(path: str) -> bool:
    """Whether a file is neither collected nor served; `path` is relative to STATIC_URL."""
    return any(fnmatch(path, pattern) for pattern in UNUSED)


class AppDirectoriesFinder(finders.AppDirectoriesFinder):
    """Finds the static files of apps, except those that are unused."""

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:
        """Return the files of all apps, each with its storage."""
        return iter(super().list([*(ignore_patterns or []), *UNUSED]))

    def find(self, path: str, **options: Any) -> Any:  # type: ignore[override] # of two signatures
        """Return the location of a file, an empty list if there is none."""
        return [] if is_unused(path) else super().find(path, **options)


class WhiteNoiseMiddleware(middleware.WhiteNoiseMiddleware):  # type: ignore[misc] # WhiteNoise has no types
    """WhiteNoise, except that it reads large files as fast as the client does.

    WhiteNoise streams with a synchronous iterator. Under ASGI Django reads it to its end first, and warns at every
    file. No setting changes that.
    """

    def add_file_to_dictionary(self, url: str, path: str, stat_cache: Any = None) -> None:
        """Serve a file, unless it is unused: an older version may have collected it."""
        if not is_unused(url.removeprefix(self.static_prefix)):
            super().add_file_to_dictionary(url, path, stat_cache=stat_cache)

    @staticmethod
    def serve(static_file: Any, request: HttpRequest) -> HttpResponseBase:
        """Answer the file, or 304 if the client has it."""
        found = static_file.get_response(request.method, request.META)
        file, status = found.file or BytesIO(), int(found.status)
        begin = file.read(PART_BYTES)
        response: HttpResponseBase
        if len(begin) < PART_BYTES:
            file.close()
            response = HttpResponse(begin, status=status)
        else:
            response = StreamingHttpResponse(_parts(begin, file), status=status)
        del response["content-type"]
        for name, value in found.headers:
            response[name] = value
        return response


async def _parts(part: bytes, file: Any) -> AsyncIterator[bytes]:
    with file:
        while part:
            yield part
            part = await asyncio.to_thread(file.read, PART_BYTES)


class ModuleStorage(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """WhiteNoise's storage, which also replaces names in imports of JavaScript modules, and needs no source maps.

    Scripts and styles of ours are stored without comments and indents.
    """

    support_js_module_import_aggregation = True
    _patterns: dict[str, list[tuple[Any, str]]]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._patterns = {
            glob: [(pattern, template) for pattern, template in patterns if "sourceMappingURL" not in pattern.pattern]
            for glob, patterns in self._patterns.items()
        }

    def _save(self, name: str, content: "File[bytes]") -> str:
        minify = MINIFIERS.get(PurePath(name).suffix)
        if minify and name.startswith(OURS):
            content = ContentFile(minify(b"".join(content.chunks()).decode()).encode())
        saved: str = super()._save(name, content)
        return saved
