"""Every HTTP request is answered in time and as documented; `test_passwords` has the queue of log-ins."""

import asyncio
import json
from typing import Any

import pytest

from qader.http.deadline import HttpDeadline


async def test_a_request_that_the_stop_cancels_is_answered_as_unavailable() -> None:
    """The server itself would answer 500, which no document names."""
    sent: list[Any] = []
    begun = asyncio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await send({"type": "http.response.start", "status": 500, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    request = asyncio.create_task(HttpDeadline(application)({"type": "http"}, None, send))
    await begun.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    start, body = sent
    assert (start["status"], json.loads(body["body"])["code"]) == (503, "temporarily_unavailable")
