"""Two processes behind the shipped reverse proxy, over TLS."""

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest

from tests import servers
from tests.e2e.caddy import Proxy, proxy
from tests.e2e.chat_socket import connected
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.server import Front, WebServer, start_together, wait_until
from tests.websocket_client import HandshakeRefusedError

# As docker-compose.yml gives them with a DOMAIN.
SETTINGS = {"SECURE_SSL": "1", "TRUST_PROXY": "1", "ALLOWED_HOSTS": "localhost"}
LIMITS = {"LOGIN_LIMIT_ADDRESS": "3", "CHAT_HEAL_SECONDS": "2"}
PASSWORD = "qader-demo-2026"
SOON = 20  # seconds; for a machine that is busy
BODY_SECONDS = 30  # within which half a body is cut
HEAD_SECONDS = 10  # how long the head of a request may take


class Site:
    """All of it."""

    def __init__(self, cluster: Cluster, redis: servers.Redis, front: Proxy) -> None:
        self.cluster, self.redis, self.proxy = cluster, redis, front

    @property
    def web(self) -> list[WebServer]:
        return self.cluster.servers


@pytest.fixture(scope="module")
def site(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with servers.redis() as redis:
        cluster = Cluster(databases.create(), redis)
        try:
            web = start_together(*[cluster.server(kind, **SETTINGS, **LIMITS) for kind in ("daphne", "uvicorn")])
            ports = [server.port for server in web]
            with proxy(*ports, folder=tmp_path_factory.mktemp("caddy"), domain="localhost") as front:
                yield Site(cluster, redis, front)
        finally:
            cluster.close()


@pytest.fixture(scope="module")
def pairs(site: Site) -> Iterator[Pair]:
    return iter(site.cluster.make_pairs(10))


@pytest.fixture
def pair(pairs: Iterator[Pair]) -> Pair:
    return next(pairs)


def sign_in(http: httpx.Client, person: Person, password: str = PASSWORD, **headers: str) -> httpx.Response:
    token = http.get("/api/v1/auth/csrf/").json()["csrfToken"]
    login = {"username": person.username, "password": password}
    return http.post("/api/v1/auth/login/", json=login, headers={"X-CSRFToken": token, **headers})


def signed_in(front: Front, person: Person) -> Person:
    """The same person by a session of their own, got with a password through the proxy."""
    with front.client() as http:
        answer = sign_in(http, person)
        assert answer.status_code == 200, answer.text
        return Person(person.user_id, person.username, http.cookies["sessionid"], person.path)


async def chat(front: Front, pair: Pair) -> None:
    """Sign both in and exchange messages over sockets, all of it through the proxy."""
    student = await asyncio.to_thread(signed_in, front, pair.student)
    teacher = await asyncio.to_thread(signed_in, front, pair.teacher)
    async with connected(student, front) as here, connected(teacher, front) as there:
        for speaker in (here, there):
            await speaker.send_json({"message": "over TLS"})
            received = [await one.receive_json(SOON) for one in (here, there)]
            assert [(frame["type"], frame["message"]["content"]) for frame in received] == [
                ("new_message", "over TLS")
            ] * 2


def assert_compression(front: Front, pair: Pair) -> None:
    """Histories, the page and static files are compressed; what holds a token or is about a session is not."""
    history, text = "/api/v1/chat/my-conversation/messages/", "سؤال عن الدرس السابع. " * 50
    with front.client() as http:
        assert sign_in(http, pair.student).status_code == 200
        sent = {"X-CSRFToken": http.cookies["csrftoken"], "Accept-Encoding": "gzip, br, zstd"}
        http.headers.update(sent)
        assert http.post(history, json={"content": text}).status_code == 201
        page = http.get("/")
        style = re.search(r'href="(/static/chat/page\.\w+\.css)"', page.text)
        assert style
        encodings = {
            path: http.get(path).headers.get("Content-Encoding")
            for path in (history, style[1], "/api/v1/auth/csrf/", "/api/v1/auth/me/", "/admin/login/")
        }
        assert http.get(history).json()["results"][0]["content"] == text
    assert list(encodings.values()) == ["gzip", "br", None, None, None], encodings
    assert page.headers["Content-Encoding"] == "gzip"


def test_histories_are_compressed_and_secrets_are_not(site: Site, pair: Pair) -> None:
    assert_compression(site.proxy, pair)


async def test_two_people_chat_over_tls(site: Site, pair: Pair) -> None:
    await chat(site.proxy, pair)


async def test_nobody_else_connects_through_the_proxy(site: Site, pair: Pair) -> None:
    stranger = Person(0, "nobody", "no-session", pair.student.path)
    with pytest.raises(HandshakeRefusedError) as refused:
        await stranger.socket(site.proxy).connect()
    assert refused.value.status == 403


def test_plain_http_redirects_to_tls_and_cookies_are_secure(site: Site) -> None:
    answer = httpx.get(f"http://127.0.0.1:{site.proxy.plain_port}/", headers={"Host": "localhost"}, trust_env=False)
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://localhost/")
    with site.proxy.client() as http:
        answer = http.get("/api/v1/auth/csrf/")
    assert answer.headers["Set-Cookie"].startswith("csrftoken=")
    assert "Secure" in answer.headers["Set-Cookie"]
    assert answer.headers["Strict-Transport-Security"]


def test_failed_log_ins_count_for_the_real_address(site: Site, pair: Pair) -> None:
    with site.proxy.client("127.0.0.2") as guesser, site.proxy.client("127.0.0.3") as neighbour:

        def guess(number: int) -> int:
            claims = dict.fromkeys(("X-Real-IP", "X-Forwarded-For", "Forwarded"), f"198.51.100.{number}")
            return sign_in(guesser, Person(0, f"somebody {number}", "", ""), "wrong", **claims).status_code

        assert [guess(number) for number in range(3)] == [400] * 3
        with ThreadPoolExecutor(4) as at_once:  # of which one is in its turn
            assert 429 in at_once.map(guess, range(3, 7))
        claims = {"X-Real-IP": "127.0.0.2", "X-Forwarded-For": "127.0.0.2"}
        assert sign_in(neighbour, pair.student, **claims).status_code == 200


def test_larger_bodies_and_heads_are_refused(site: Site) -> None:
    with site.proxy.client() as http:
        assert http.post("/api/v1/auth/login/", content=b" " * 300_000).status_code == 413
        assert http.get("/healthz", headers={"X-Long": "x" * 12_000}).status_code == 200
        assert http.get("/healthz", headers={"X-Long": "x" * 24_000}).status_code == 431


@pytest.mark.slow
async def test_slow_requests_are_cut_and_silent_sockets_are_not(site: Site, pair: Pair) -> None:
    async with connected(pair.student, site.proxy) as silent:
        head = b"GET /ws/chat/my-conversation/ HTTP/1.1\r\nHost: localhost\r\n"
        seconds = await asyncio.to_thread(seconds_until_cut, site.proxy, head)
        assert HEAD_SECONDS - 1 < seconds < HEAD_SECONDS + SOON
        await silent.send_json({"message": "still here"})
        assert (await silent.receive_json())["message"]["content"] == "still here"


def seconds_until_cut(front: Proxy, begin: bytes) -> float:
    """Begin a request, and go on with a byte every half second until it is answered or cut."""
    assert front.tls
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        front.tls.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(begin)
        connection.settimeout(0.5)
        while time.monotonic() < started + HEAD_SECONDS + SOON:
            try:
                connection.sendall(b"x")
                connection.recv(4096)
                break  # an answer, or the end
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - started


BODIES = {
    "half of it": "Content-Length: 100\r\n\r\nabc",
    "nothing of it": "Content-Length: 100\r\n\r\n",
    "half a chunk": "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
}


@pytest.mark.slow
async def test_half_a_body_and_then_silence_is_cut(site: Site) -> None:
    head = "POST /api/v1/auth/login/ HTTP/1.1\r\nHost: localhost\r\n"
    waits = [asyncio.to_thread(seconds_until_answer, site.proxy, (head + body).encode()) for body in BODIES.values()]
    found = dict(zip(BODIES, await asyncio.gather(*waits), strict=True))
    assert {name: seconds for name, seconds in found.items() if seconds > BODY_SECONDS} == {}


def seconds_until_answer(front: Proxy, request: bytes) -> float:
    """Send that, and wait until it is answered or cut."""
    assert front.tls
    started = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", front.port)) as plain,
        front.tls.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.settimeout(2 * BODY_SECONDS)
        connection.sendall(request)
        with suppress(OSError):
            connection.recv(4096)
    return time.monotonic() - started


async def test_reloading_the_proxy_keeps_sockets_open(site: Site, pair: Pair) -> None:
    async with connected(pair.student, site.proxy) as open_one:
        await asyncio.to_thread(site.proxy.reload)
        async with connected(pair.teacher, site.proxy) as new_one:
            await open_one.send_json({"message": "still here"})
            for one in (open_one, new_one):
                assert (await one.receive_json(SOON))["message"]["content"] == "still here"


async def test_no_request_fails_when_a_process_is_gone(site: Site, pair: Pair) -> None:
    gone, _ = site.web
    gone.kill()
    try:
        with site.proxy.client() as http:
            assert {http.get("/readyz").status_code for _ in range(30)} == {200}
        await chat(site.proxy, pair)
    finally:
        await asyncio.to_thread(gone.start)


async def test_during_a_redis_outage_readyz_is_red_and_the_chat_works(site: Site, pair: Pair) -> None:
    before = {server: unready(server) for server in site.web}
    site.redis.stop()
    try:
        await asyncio.to_thread(
            wait_until, lambda: all(unready(server) >= before[server] + 3 for server in site.web), "nobody asks"
        )
        with site.proxy.client() as http:
            answer = http.get("/readyz")
            assert (answer.status_code, answer.json()) == (
                503,
                {"database": True, "channel_layer": False, "stopping": False},
            )
        await chat(site.proxy, pair)
        gone, _ = site.web
        gone.kill()
        # And even with one process, which has more connections than the one that is gone.
        async with connected(pair.student, site.proxy):
            with site.proxy.client() as http:
                assert {http.get("/healthz").status_code for _ in range(5)} == {200}
    finally:
        site.redis.start()
    await asyncio.to_thread(gone.start)
    await asyncio.to_thread(wait_until, lambda: all(ready(server) for server in site.web), "not ready again")


def unready(server: WebServer) -> int:
    """Return how often the process has answered, to the proxy, that it is not ready."""
    return sum(json.loads(line)["event"].startswith("not ready") for line in server.log.splitlines() if line[0] == "{")


def unready_more_often(server: WebServer, count: int) -> bool:
    return unready(server) > count


def ready(server: WebServer) -> bool:
    return httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
