"""Compresses the long answers of the chat, its page and the API documents, where the client accepts gzip.

All other answers stay as they are. Somebody who sees the length of compressed answers and chooses a part of their text
can guess the rest letter by letter (BREACH, https://www.breachattack.com/). So nothing is compressed that holds a CSRF
token or a session: log-in and admin. Proxies must not compress these either; they pass our answers on. The chat's
answers have no secret but the messages themselves, and a random length makes these hard to guess. The page is the same
for all who are signed in. Static files are compressed by WhiteNoise when they are collected.
"""

import secrets
from collections.abc import Callable
from gzip import GzipFile
from io import BytesIO

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers

PATHS = ("/api/v1/chat/", "/api/schema/", "/api/asyncapi.yaml")
PAGE = "/"
LEAST_BYTES = 1024  # a shorter answer fits into one packet anyway
LEVEL = 3  # half the time of zlib's usual 6, for a fifth more bytes
RANDOM_BYTES = 100  # as Django's GZipMiddleware, after https://ieeexplore.ieee.org/document/9754554


def compression(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Compress the answers below `PATHS`."""

    def compressing(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        return _compress(response) if _is_wanted(request, response) else response

    return compressing


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether this header (RFC 9110, section 12.5.3) accepts gzip: by its name, or by "*" where it is not named."""
    weights = {}
    for entry in accept_encoding.lower().split(","):
        coding, _, weight = entry.replace(" ", "").replace("\t", "").partition(";q=")
        weights[coding] = weight
    weight = weights.get("gzip", weights.get("*", "0"))
    return weight.strip("0.") != "" or weight == ""


def _is_wanted(request: HttpRequest, response: HttpResponse) -> bool:
    """Whether to compress this answer; notes in its headers that it depends on what the client accepts."""
    is_ours = request.path_info == PAGE or request.path_info.startswith(PATHS)
    if not is_ours or response.streaming or "Content-Encoding" in response.headers:
        return False
    patch_vary_headers(response, ["Accept-Encoding"])
    return len(response.content) >= LEAST_BYTES and accepts_gzip(request.headers.get("Accept-Encoding", ""))


def _compress(response: HttpResponse) -> HttpResponse:
    buffer = BytesIO()
    name = "a" * secrets.randbelow(RANDOM_BYTES)
    with GzipFile(filename=name, mode="wb", compresslevel=LEVEL, fileobj=buffer, mtime=0) as file:
        file.write(response.content)
    response.content = buffer.getvalue()
    response.headers["Content-Length"] = str(len(response.content))
    response.headers["Content-Encoding"] = "gzip"
    if (tag := response.headers.get("ETag", "")).startswith('"'):
        response.headers["ETag"] = f"W/{tag}"  # RFC 9110, section 8.8.1: other bytes, the same meaning
    return response
