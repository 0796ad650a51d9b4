"""Refused handshakes are answered with 403, or the server's own 400, and never with a traceback."""

import pytest

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.server import WebServer
from tests.servers import PostgreSQL, Redis
from tests.websocket_client import RawSocket

# These the servers' own parsers may refuse before we see them.
MALFORMED = {"two origins", "a key that is none"}
STUDENT = "/ws/chat/my-conversation/"


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_every_refused_handshake_gets_its_status_without_traceback(cluster: Cluster, kind: str) -> None:
    pair, other = cluster.make_pairs(2)
    server = cluster.start(kind, LOG_LEVEL="WARNING")
    answers = {name: status(server, *request) for name, request in requests(server, pair, other).items()}
    assert answers.pop("the student") == 101
    assert set(answers.values()) <= {400, 403}, answers
    assert {name for name, answer in answers.items() if answer == 400} <= MALFORMED
    assert server.log.count("\n") == 1, server.log


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_origins_are_refused_alike_while_redis_is_away(
    fragile_cluster: tuple[Cluster, PostgreSQL, Redis], kind: str
) -> None:
    cluster, _, redis = fragile_cluster
    (pair,) = cluster.make_pairs()
    server = cluster.start(kind)
    own = {"Cookie": pair.student.cookie, "Origin": server.url}
    redis.stop()
    foreign = ["http://evil.example", "http://127.0.0.1:1", "null", "http://[x", server.url.upper()]
    assert [status(server, STUDENT, own | {"Origin": origin}) for origin in foreign] == [403] * len(foreign)
    assert status(server, STUDENT, own) == 101
    assert server.failures == []


def requests(server: WebServer, pair: Pair, other: Pair) -> dict[str, tuple[str, dict[str, str]]]:
    def of(cookie: str, origin: str | None) -> dict[str, str]:
        return {"Cookie": cookie} | ({} if origin is None else {"Origin": origin})

    cookie, mine = pair.student.cookie, server.url
    return {
        "the student": (STUDENT, of(cookie, mine)),
        "no origin": (STUDENT, of(cookie, None)),
        "no page in particular": (STUDENT, of(cookie, "null")),
        "another host": (STUDENT, of(cookie, "http://evil.example")),
        "half an IPv6 address": (STUDENT, of(cookie, "http://[x")),
        "a port that is none": (STUDENT, of(cookie, "http://127.0.0.1:port:x")),
        "two origins": (STUDENT, of(cookie, f"{mine}\r\nOrigin: {mine}")),
        "nobody": (STUDENT, of("", mine)),
        "a session that is none": (STUDENT, of("sessionid=zzz", mine)),
        "the other side's path": ("/ws/chat/conversations/1/", of(cookie, mine)),
        "another mentor": (f"/ws/chat/{pair.teacher.path}", of(other.teacher.cookie, mine)),
        "a number that is none": ("/ws/chat/conversations/x/", of(cookie, mine)),
        "a path that is none": ("/ws/wp-admin/", of(cookie, mine)),
        "a key that is none": (STUDENT, of(cookie, mine) | {"Sec-WebSocket-Key": "x"}),
    }


def status(server: WebServer, path: str, headers: dict[str, str]) -> int | None:
    with RawSocket(server.port, path, headers=headers) as socket:
        return socket.status
