"""Static files under ASGI: whole, in ranges, compressed, and without Django's warning."""

import gzip
from typing import Any

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.http import HttpResponse
from django.test import AsyncClient
from whitenoise import middleware as whitenoise

from qader.http.static_files import WhiteNoiseMiddleware

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


@pytest.mark.parametrize(
    ("kind", "is_streaming"), [(whitenoise.WhiteNoiseMiddleware, True), (WhiteNoiseMiddleware, False)]
)
def test_plain_whitenoise_streams_with_a_warning_under_asgi(rf: Any, kind: Any, is_streaming: bool) -> None:
    response = kind(lambda request: HttpResponse())(rf.get(staticfiles_storage.url(STYLES)))
    response.close()
    assert (response.streaming, getattr(response, "is_async", False)) == (is_streaming, False)


async def test_a_file_is_sent_compressed(styles: bytes) -> None:
    status, content, headers = await get(accept_encoding="gzip")
    assert (status, headers["content-encoding"], gzip.decompress(content)) == (200, "gzip", styles)


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
