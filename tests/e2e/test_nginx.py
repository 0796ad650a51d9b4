"""Two processes behind nginx with the shipped configuration, and behind Caddy and nginx in a row."""

import asyncio
import json
from collections.abc import Iterator

import httpx
import pytest

from tests.debian import program
from tests.e2e.caddy import Proxy, proxy
from tests.e2e.chat_socket import connected
from tests.e2e.cluster import Cluster, Databases, Pair
from tests.e2e.nginx import Nginx, nginx
from tests.e2e.server import Front, WebServer, start_together
from tests.e2e.test_proxy import assert_compression, chat, sign_in, signed_in
from tests.servers import redis

pytestmark = pytest.mark.skipif(program("nginx", "nginx") is None, reason="needs nginx, or apt-get to download it with")

SETTINGS = {"SECURE_SSL": "1", "ALLOWED_HOSTS": "localhost", "LOGIN_LIMIT_ACCOUNT": "1"}
# What deploy/nginx.conf says of another proxy in front.
BEHIND_ANOTHER = {
    "X-Forwarded-For $remote_addr": "X-Forwarded-For $proxy_add_x_forwarded_for",
    "X-Forwarded-Proto $scheme": "X-Forwarded-Proto $http_x_forwarded_proto",
}


@pytest.fixture(scope="module")
def cluster(databases: Databases) -> Iterator[Cluster]:
    with redis() as layer:
        made = Cluster(databases.create(), layer)
        yield made
        made.close()


@pytest.fixture(scope="module")
def pairs(cluster: Cluster) -> Iterator[Pair]:
    return iter(cluster.make_pairs(8))


@pytest.fixture
def pair(pairs: Iterator[Pair]) -> Pair:
    return next(pairs)


@pytest.fixture(scope="module")
def web(cluster: Cluster) -> tuple[WebServer, ...]:
    return start_together(*[cluster.server(kind, TRUST_PROXY="1", **SETTINGS) for kind in ("daphne", "uvicorn")])


@pytest.fixture(scope="module")
def front(web: tuple[WebServer, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with nginx(*[server.port for server in web], folder=tmp_path_factory.mktemp("nginx")) as made:
        yield made


@pytest.fixture(scope="module")
def row(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Caddy as shipped, which passes on to nginx, which passes on to a process."""
    server = cluster.start(TRUST_PROXY="2", **SETTINGS)
    folder = tmp_path_factory.mktemp("row")
    with (
        nginx(server.port, folder=folder, changes=BEHIND_ANOTHER, tls=False) as inner,
        proxy(inner.port, folder=folder, domain="localhost") as outer,
    ):
        yield outer


def assert_failures_count_for_the_real_address(front: Front, pair: Pair) -> None:
    """One failure for a name locks that name out for this address, whatever the client claims to be; not for others."""
    with front.client("127.0.0.2") as guesser, front.client("127.0.0.3") as neighbour:
        for number, expected in enumerate((400, 429, 429)):
            claims = dict.fromkeys(("X-Real-IP", "X-Forwarded-For", "Forwarded"), f"198.51.100.{number}")
            assert sign_in(guesser, pair.student, "wrong", **claims).status_code == expected
        claims = {"X-Real-IP": "127.0.0.2", "X-Forwarded-For": "127.0.0.2, 127.0.0.2"}
        assert sign_in(neighbour, pair.student, **claims).status_code == 200


async def test_two_people_chat_through_nginx(front: Nginx, pair: Pair) -> None:
    await chat(front, pair)


async def test_two_people_chat_through_two_proxies_in_a_row(row: Proxy, pair: Pair) -> None:
    await chat(row, pair)


def test_behind_nginx_failed_log_ins_count_for_the_real_address(front: Nginx, pair: Pair) -> None:
    assert_failures_count_for_the_real_address(front, pair)


def test_behind_two_proxies_failed_log_ins_count_for_the_real_address(row: Proxy, pair: Pair) -> None:
    assert_failures_count_for_the_real_address(row, pair)


def test_behind_nginx_histories_are_compressed_and_secrets_are_not(front: Nginx, pair: Pair) -> None:
    assert_compression(front, pair)


def test_nginx_redirects_to_tls_and_hides_the_metrics(front: Nginx) -> None:
    plain = f"http://127.0.0.1:{front.plain_port}/x?y=1"
    answer = httpx.get(plain, headers={"Host": "localhost"}, trust_env=False)
    assert (answer.status_code, answer.headers["Location"]) == (308, "https://localhost/x?y=1")
    with front.client() as http:
        assert [http.get(path).status_code for path in ("/metrics", "/metrics/", "/readyz")] == [404, 404, 200]
        assert "Secure" in http.get("/api/v1/auth/csrf/").headers["Set-Cookie"]
        assert http.post("/api/v1/auth/login/", content=b" " * 300_000).status_code == 413


async def test_nginx_passes_on_bodies_in_chunks_and_a_proxys_request_id(front: Nginx, pair: Pair) -> None:
    student = await asyncio.to_thread(signed_in, front, pair.student)

    def post() -> httpx.Response:
        token = "t" * 32
        headers = {"Cookie": f"{student.cookie}; csrftoken={token}", "X-CSRFToken": token, "X-Request-ID": "claimed"}
        body = [json.dumps({"content": "in "}).encode()[:-2], b'chunks"}']
        with front.client() as http:
            headers |= {"Content-Type": "application/json"}
            return http.post("/api/v1/chat/my-conversation/messages/", content=iter(body), headers=headers)

    async with connected(student, front) as socket:
        answer = await asyncio.to_thread(post)
        assert (answer.status_code, answer.json()["content"]) == (201, "in chunks")
        assert len(answer.headers["X-Request-ID"]) == 32
        assert (await socket.receive_json())["message"]["content"] == "in chunks"


async def test_behind_nginx_no_request_fails_when_a_process_is_gone(
    web: tuple[WebServer, ...], front: Nginx, pair: Pair
) -> None:
    web[0].kill()
    try:
        with front.client() as http:
            assert {http.get("/healthz").status_code for _ in range(20)} == {200}
        await chat(front, pair)
    finally:
        await asyncio.to_thread(web[0].start)
