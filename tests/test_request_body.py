"""Request bodies over the limit are refused before they are kept."""

from typing import Any

import pytest

from qader.http.body_limit import TOO_LARGE, BodyLimit

LIMIT = 100


async def ask(chunks: list[bytes], announced: bytes | None = None) -> tuple[list[Any], list[bytes]]:
    """What is answered, and what the application has read."""
    read: list[bytes] = []
    sent: list[Any] = []
    waiting = list(chunks)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        """As Django's: reads to the end, then answers, unless the client has left."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            read.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> dict[str, Any]:
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message: Any) -> None:
        sent.append(message.get("status") or message.get("body"))

    headers = [(b"content-length", announced)] if announced is not None else []
    await BodyLimit(application)({"type": "http", "headers": headers}, receive, send)
    return sent, read


@pytest.fixture(autouse=True)
def _limit(settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = LIMIT


@pytest.mark.parametrize("chunks", [[b""], [b"a" * LIMIT], [b"a" * 60, b"a" * 40]])
@pytest.mark.parametrize("announced", [None, b"100", b"junk"])
async def test_a_body_within_the_limit_is_passed_on(chunks: list[bytes], announced: bytes | None) -> None:
    assert await ask(chunks, announced) == ([200, b""], chunks)


@pytest.mark.parametrize("announced", [b"101", b"9" * 30])
async def test_a_body_announced_as_too_long_is_not_read(announced: bytes) -> None:
    assert await ask([b"a"], announced) == ([413, TOO_LARGE], [])


@pytest.mark.parametrize("announced", [None, b"3"])
async def test_a_body_that_becomes_too_long_is_cut_off(announced: bytes | None) -> None:
    assert await ask([b"a" * 60, b"a" * 41, b"a" * 1000], announced) == ([413, TOO_LARGE], [b"a" * 60])
