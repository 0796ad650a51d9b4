"""The clients of the end-to-end tests: what they hear must be documented."""

from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests import contract


class Connection(ClientConnection):
    """A socket on which no other frame may come and no other code end it than the contract has."""

    async def recv(self, decode: bool | None = None) -> Any:
        """Return the next frame."""
        assert self.request
        try:
            text = await super().recv(decode)
        except ConnectionClosed as closed:
            if closed.rcvd and closed.rcvd_then_sent:
                contract.check_close(closed.rcvd.code)
            raise
        contract.check_frame(self.request.path, text)
        return text


class Http(httpx.AsyncClient):
    """REST, with no other answers than the contract has."""

    async def request(self, *args: Any, **kwargs: Any) -> httpx.Response:
        """Return the answer to a request."""
        answer = await super().request(*args, **kwargs)
        path, headers = answer.request.url.path, answer.headers
        contract.answers().check(answer.request.method, path, answer.status_code, headers, answer.content)
        return answer
