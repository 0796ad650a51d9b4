"""A new SECRET_KEY, with the old one in SECRET_KEY_FALLBACKS, signs nobody out."""

import asyncio
import secrets

import httpx
import pytest

from tests.e2e.chat_socket import SETTLED_SECONDS, connected
from tests.e2e.cluster import Cluster, Person
from tests.e2e.server import WebServer, start_together

AT_ONCE = 20


async def ask(person: Person, server: WebServer) -> httpx.Response:
    async with person.http(server) as http:
        return await http.get("auth/me/")


async def give_keys(servers: tuple[WebServer, ...], **keys: str) -> None:
    """Restart them under these keys."""
    for server in servers:
        server.environment |= keys
    await asyncio.gather(*(asyncio.to_thread(server.restart) for server in servers))


@pytest.mark.slow
async def test_nobody_is_signed_out_by_a_new_key(cluster: Cluster) -> None:
    servers = await asyncio.to_thread(start_together, cluster.server("daphne"), cluster.server("uvicorn"))
    first, second = servers
    pair, silent = await asyncio.to_thread(cluster.make_pairs, 2)
    old_key, new_key = cluster.environment["SECRET_KEY"], secrets.token_urlsafe(50)
    await give_keys(servers, SECRET_KEY=new_key, SECRET_KEY_FALLBACKS=old_key)
    async with connected(pair.student, first) as student, connected(silent.teacher, second) as teacher:
        answers = await asyncio.gather(*(ask(pair.student, server) for server in servers for _ in range(AT_ONCE)))
        assert [answer.status_code for answer in answers] == [200] * (2 * AT_ONCE)
        # Cookies may be set again, but to the same value: whichever answer comes last, the client loses nothing.
        assert {answer.cookies.get("sessionid") for answer in answers} <= {None, pair.student.session_key}
        async with connected(pair.student, second) as tab:
            await student.send_json({"message": "still me"})
            assert (await student.receive_json())["message"] == (await tab.receive_json())["message"]
            await asyncio.sleep(SETTLED_SECONDS)
            for socket in (student, teacher, tab):
                assert await socket.receive_until_pong() == []
    # Who was here meanwhile is signed in under the new key alone; the others have to sign in again.
    await give_keys(servers, SECRET_KEY_FALLBACKS="")
    assert [(await ask(person, first)).status_code for person in (pair.student, silent.teacher)] == [200, 401]
    async with connected(pair.student, second) as student:
        assert await student.receive_until_pong() == []
