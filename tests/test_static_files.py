"""Static files under ASGI: whole, in ranges, compressed, and without Django's warning."""

import gzip
from typing import Any

import brotli
import pytest
from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpResponse
from django.test import AsyncClient
from whitenoise import middleware as whitenoise

from qader.http.static_files import PART_BYTES, WhiteNoiseMiddleware, is_unused

STYLES = "chat/page.css"


@pytest.fixture
def styles() -> bytes:
    with staticfiles_storage.open(STYLES) as file:
        content: bytes = file.read()
    return content


async def get(method: str = "get", path: str | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    ask = getattr(AsyncClient(), method)
    answer = await ask(path or staticfiles_storage.url(STYLES), headers=headers)
    return answer.status_code, answer.content, {name.lower(): value for name, value in answer.headers.items()}


async def test_a_file_is_sent_whole_and_may_be_cached(styles: bytes) -> None:
    status, content, headers = await get()
    assert (status, content) == (200, styles)
    assert headers["content-type"] == 'text/css; charset="utf-8"'
    assert headers["content-length"] == str(len(styles))
    assert headers["cache-control"] == "max-age=315360000, public, immutable"


def test_plain_whitenoise_streams_with_a_warning_under_asgi(rf: Any) -> None:
    middleware = whitenoise.WhiteNoiseMiddleware(lambda request: HttpResponse())
    response = middleware(rf.get(staticfiles_storage.url(STYLES)))
    response.file_to_stream.close()
    assert (response.streaming, response.is_async) == (True, False)


async def test_a_large_file_is_sent_in_parts() -> None:
    """So that one which the client does not read is not in memory."""
    name = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    answer: Any = await AsyncClient().get(staticfiles_storage.url(name))
    assert (answer.streaming, answer.is_async) == (True, True)
    parts = [part async for part in answer]
    with staticfiles_storage.open(name) as file:
        assert len(file.read()) == sum(map(len, parts)) == int(answer["content-length"])
    assert max(map(len, parts)) == PART_BYTES
    answer = await AsyncClient().get(staticfiles_storage.url(name), headers={"range": "bytes=1000-99999"})
    assert b"".join([part async for part in answer]) == b"".join(parts)[1000:100_000]
    answer = await AsyncClient().head(staticfiles_storage.url(name))
    assert (answer.content, answer["content-length"]) == (b"", str(sum(map(len, parts))))


async def test_no_source_maps_and_no_unused_files_are_served() -> None:
    served = WhiteNoiseMiddleware(lambda request: HttpResponse()).files
    assert [path for path in served if ".map" in path or "redoc" in path or "rest_framework" in path] == []
    found = [path for finder in finders.get_finders() for path, _ in finder.list(None)]
    assert "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in found
    assert [path for path in found if is_unused(path)] == []
    assert finders.find("rest_framework/css/bootstrap.min.css.map") is None


async def test_a_file_is_sent_compressed(styles: bytes) -> None:
    status, content, headers = await get(accept_encoding="gzip")
    assert (status, headers["content-encoding"], gzip.decompress(content)) == (200, "gzip", styles)


async def test_browsers_get_a_file_by_brotli(styles: bytes) -> None:
    _, packed, _ = await get(accept_encoding="gzip")
    status, content, headers = await get(accept_encoding="gzip, deflate, br, zstd")
    assert (status, headers["content-encoding"], brotli.decompress(content)) == (200, "br", styles)
    assert headers["vary"] == "Accept-Encoding"
    assert len(content) < len(packed)


async def test_a_range_of_a_file_is_sent(styles: bytes) -> None:
    status, content, headers = await get(range="bytes=10-19")
    assert (status, content, headers["content-length"]) == (206, styles[10:20], "10")


async def test_an_unchanged_file_is_not_sent_again(styles: bytes) -> None:
    _, _, headers = await get()
    status, content, again = await get(if_none_match=headers["etag"])
    assert (status, content) == (304, b"")
    assert "content-type" not in again


async def test_head_requests_are_answered(styles: bytes) -> None:
    status, content, headers = await get("head")
    assert (status, content, headers["content-length"]) == (200, b"", str(len(styles)))


async def test_nothing_can_be_posted() -> None:
    assert (await get("post"))[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/static/../qader/settings.py",
        "/static/%2e%2e/qader/settings.py",
        "/static/..%2f..%2fetc/passwd",
        "/static//etc/passwd",
        "/static/chat/",
        "/static/staticfiles.json/",
        "/static/chat/page.css%00.html",
    ],
)
async def test_nothing_but_static_files_is_served(path: str) -> None:
    status, content, _ = await get(path=path)
    assert (status, b"SECRET" in content) == (404, False)
