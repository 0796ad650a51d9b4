"""REST requests of one person."""

import logging
from typing import Any

import httpx

from tests.e2e.checked_http import Http
from tests.e2e.cluster import CSRF, Person
from tests.e2e.server import Reachable

Message = dict[str, Any]

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for each request otherwise


class Rest:
    """REST as one person on one server; answers of 200 and 201 only, unless asked for more."""

    def __init__(self, person: Person, server: Reachable) -> None:
        self.person, self.server = person, server
        headers = {"Cookie": person.cookie, "X-CSRFToken": CSRF, "Origin": server.url}
        # No TLS here; loading certificates for each of a hundred clients takes seconds.
        self._http = Http(base_url=f"{server.url}/api/v1/", headers=headers, timeout=15, trust_env=False, verify=False)

    async def __aenter__(self) -> "Rest":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Any request; `path` is relative to `/api/v1/`."""
        return await self._http.request(method, path, json=body)

    async def get(self, path: str) -> Any:
        answer = await self.ask("GET", path)
        answer.raise_for_status()
        return answer.json()

    @property
    def messages_path(self) -> str:
        if self.person.path == "my-conversation/":
            return "chat/my-conversation/messages/"
        return f"chat/teacher/{self.person.path}messages/"

    async def history(self) -> list[Message]:
        """All messages, oldest first, without marking any as read."""
        messages: list[Message] = []
        page = f"{self.messages_path}?mark_read=false&page_size=200"
        while page:
            found = await self.get(page)
            messages += found["results"]
            page = found["next"]
        return messages
