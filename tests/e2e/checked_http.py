"""The HTTP client of the end-to-end tests; every answer must be documented."""

from typing import Any

import httpx

from tests import contract


class Http(httpx.AsyncClient):
    """REST, with no other answers than the contract has."""

    async def request(self, *args: Any, **kwargs: Any) -> httpx.Response:
        """Return the answer to a request."""
        answer = await super().request(*args, **kwargs)
        path, headers = answer.request.url.path, answer.headers
        contract.answers().check(answer.request.method, path, answer.status_code, headers, answer.content)
        return answer
