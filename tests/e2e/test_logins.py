"""Many log-ins at once, on a real server: all get in, and nobody else waits for them."""

import asyncio
import statistics
import time
from typing import Any

import httpx
import pytest

from tests.e2e.cluster import CSRF, Cluster
from tests.e2e.server import WebServer
from tests.people import PASSWORD

SECONDS = 60  # after which the test has hung


def client(server: WebServer) -> httpx.AsyncClient:
    headers = {"Cookie": f"csrftoken={CSRF}", "X-CSRFToken": CSRF, "Origin": server.url}
    return httpx.AsyncClient(base_url=server.url, headers=headers, timeout=SECONDS, trust_env=False, verify=False)


async def log_in(http: httpx.AsyncClient, name: str, password: str) -> httpx.Response:
    return await http.post("/api/v1/auth/login/", json={"username": name, "password": password})


@pytest.mark.quiet
async def test_a_class_signs_in_at_once_and_nobody_else_waits(cluster: Cluster) -> None:
    cluster.run("manage.py", "seed_demo", "--force")
    server = cluster.start()
    (pair,) = cluster.make_pairs()
    names = [f"student{number}" for number in range(1, 7)] * 5
    took: list[float] = []
    async with asyncio.timeout(SECONDS), client(server) as http, pair.student.http(server) as reader:
        answers: asyncio.Future[Any] = asyncio.gather(*(log_in(http, name, PASSWORD) for name in names))
        while not answers.done():
            begin = time.monotonic()
            answer = await reader.get("chat/my-conversation/messages/")
            took.append(time.monotonic() - begin)
            assert answer.status_code == 200
            await asyncio.sleep(0.1)
        assert {answer.status_code for answer in await answers} == {200}
        assert statistics.median(took) < 0.5, took
    assert server.failures == []
