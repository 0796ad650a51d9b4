"""Attacks on the real server, byte by byte: each is refused, costs little, and leaves no traceback."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from tests.e2e.cluster import CSRF, Cluster, Databases, Pair
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import HANDSHAKE, frame

MESSAGES = "/api/v1/chat/my-conversation/messages/"
STUDENT = "/ws/chat/my-conversation/"


@dataclass
class Victim:
    """A server and two pairs on it."""

    server: WebServer
    pair: Pair
    other: Pair

    def ask(self, request: str, *, body: str = "") -> tuple[int | None, str]:
        """The status and all of the answer to a request as it stands; `{host}` is the right one."""
        host = f"127.0.0.1:{self.server.port}"
        text = request.replace("{host}", f"Host: {host}\r\n").replace("{close}", "Connection: close\r\n") + body
        with RawSocket(self.server.port, handshake=text.replace("{", "{{").replace("}", "}}"), wait=False) as socket:
            answer = socket.read_to_end().decode("latin-1")
        found = re.match(r"HTTP/1\.[01] (\d+)", answer)
        return int(found[1]) if found else None, answer

    def get(self, path: str, headers: str = "", method: str = "GET", host: str = "{host}") -> tuple[int | None, str]:
        """The answer to a request without a body."""
        return self.ask(f"{method} {path} HTTP/1.1\r\n{host}{{close}}{headers}\r\n")

    def post(
        self, path: str, body: str, headers: str = "", content_type: str = "application/json"
    ) -> tuple[int | None, str]:
        """The answer to a post of the student's."""
        own = self.as_student() + (f"Content-Type: {content_type}\r\n" if content_type else "")
        length = f"Content-Length: {len(body)}\r\n"
        return self.ask(f"POST {path} HTTP/1.1\r\n{{host}}{{close}}{own}{headers}{length}\r\n", body=body)

    def as_student(self) -> str:
        """Cookies, token and origin."""
        return f"Cookie: {self.pair.student.cookie}\r\nX-CSRFToken: {CSRF}\r\nOrigin: {self.server.url}\r\n"

    def socket(self, path: str = STUDENT, extra: str = "", **changed: str) -> RawSocket:
        """A handshake of the student's with one thing changed."""
        headers = {"Cookie": self.pair.student.cookie, "Origin": self.server.url} | changed
        return RawSocket(
            self.server.port, path, headers=headers, handshake=HANDSHAKE.replace("{headers}", "{headers}" + extra)
        )

    def stored(self) -> int:
        """How many messages there are in the student's conversation."""
        status, answer = self.get(f"{MESSAGES}?mark_read=false", self.as_student())
        assert status == 200
        found = re.search(r'"count":(\d+)', answer)
        assert found
        return int(found[1])


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def victim(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Victim]:
    """One server of each kind for all tests here, at the end of which it is as it was."""
    cluster = Cluster(databases.create(), None)
    pair, other = cluster.make_pairs(2)
    server = cluster.start(request.param)
    megabytes = server.megabytes
    yield Victim(server, pair, other)
    assert server.failures == []
    assert server.megabytes - megabytes < 60
    assert server.terminate()[0] == 0
    cluster.close()


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Length: 2\r\nContent-Length: 40\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length : 2\r\n",
        "Content-Length: 2\0\r\n",
    ],
)
def test_an_ambiguous_request_is_refused(victim: Victim, headers: str) -> None:
    smuggled = f"{{}}GET {MESSAGES} HTTP/1.1\r\n{victim.as_student()}\r\n"
    status, answer = victim.ask(f"POST /api/v1/auth/login/ HTTP/1.1\r\n{{host}}{headers}\r\n", body=smuggled)
    assert status == 400
    assert answer.count("HTTP/1.1 ") == 1


def test_two_content_lengths_never_make_two_requests(victim: Victim) -> None:
    """Both "Content-Length" and "chunked": h11 goes by the latter, as it should, and closes; twisted refuses."""
    lengths = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    body = "0\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n"
    status, answer = victim.ask(f"POST /api/v1/auth/login/ HTTP/1.1\r\n{{host}}{lengths}\r\n", body=body)
    assert status in {400, 403, 415}
    assert answer.count("HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "host",
    [
        "Host: evil.example\r\n",
        "{host}Host: evil.example\r\n",
        "Host: me@127.0.0.1\r\n",
        "Host: 127.0.0.1:x\r\n",
        "Host: ]][[<script>\r\n",
        "Host: \xff\xfe\r\n",
        "Host: 127.0.0.1/path\r\n",
    ],
)
def test_a_foreign_host_gets_no_page(victim: Victim, host: str) -> None:
    for path in ("/", "/api/v1/auth/csrf/", "/admin/login/"):
        status, answer = victim.get(path, host=host)
        assert status == 400
        assert "<script>" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Type: x; y*=BOGUS''z\r\n",
        "Content-Type: multipart/form-data; boundary*=BOGUS''z\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: multipart/form-data\r\n",
        "Content-Type: application/x-www-form-urlencoded; charset=hex\r\n",
        "Content-Type: \xff\r\n",
        "Accept: */*; y*=BOGUS''z\r\n",
        "Accept-Language: ar-" + "a-" * 2000 + "\r\n",
        'Cookie: \xff; sessionid="\\000"\r\n',
        "If-Modified-Since: Mon, 99 Xxx 9999 99:99:99 GMT\r\nRange: bytes=\xb2-\r\n",
    ],
)
def test_a_malformed_header_is_refused_or_ignored(victim: Victim, headers: str) -> None:
    for path in ("/healthz", "/", "/nowhere", "/static/x", "/i18n/setlang/", "/api/", MESSAGES):
        for method, body in (("GET", ""), ("POST", "Content-Length: 3\r\n")):
            request = f"{method} {path} HTTP/1.1\r\n{{host}}{{close}}{headers}{body}\r\n"
            status, answer = victim.ask(request, body="a=b" if body else "")
            assert status and status < 500
            assert "/api/" not in path or status < 400 or '"code"' in answer


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", '{"content": "in chunks"}'),
        ("application/x-www-form-urlencoded", "content=in+chunks"),
        (
            "multipart/form-data; boundary=x",
            '--x\r\nContent-Disposition: form-data; name="content"\r\n\r\nin\r\n--x--\r\n',
        ),
    ],
)
def test_a_body_in_chunks_is_read_to_its_end_and_limited(victim: Victim, content_type: str, body: str) -> None:
    head = f"POST {MESSAGES} HTTP/1.1\r\n{{host}}{{close}}{victim.as_student()}Content-Type: {content_type}\r\n"
    head += "Transfer-Encoding: chunked\r\n\r\n"
    before = victim.stored()
    chunks = "".join(f"{len(part):x}\r\n{part}\r\n" for part in (body[:9], body[9:])) + "0\r\n\r\n"
    status, answer = victim.ask(head, body=chunks)
    assert (status, "in" in answer) == (201, True)
    large = f"{300_000:x}\r\n{body}{' ' * (300_000 - len(body))}\r\n0\r\n\r\n"
    assert victim.ask(head, body=large)[0] == 413
    assert victim.stored() == before + 1


@pytest.mark.parametrize(
    "header", ["X-Forwarded-Host", "Forwarded", "X-Original-URL", "X-Rewrite-URL", "X_Forwarded_Host"]
)
def test_only_the_host_header_names_the_host(victim: Victim, header: str) -> None:
    status, answer = victim.get("/api/docs/", f"{header}: evil.example\r\n")
    assert status == 200
    assert "evil.example" not in answer


def test_forwarded_headers_of_a_client_are_ignored(victim: Victim) -> None:
    """Else it could choose the address that its failed log-ins count for, or claim to come by TLS."""
    for name in ("X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto"):
        assert victim.get("/api/v1/auth/csrf/", f"{name}: https\r\n")[0] == 200
    with victim.socket(
        **{"X-Forwarded-Proto": "https", "Origin": victim.server.url.replace("http:", "https:")}
    ) as socket:
        assert socket.status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/static/../qader/settings.py",
        "/static/%2e%2e/qader/settings.py",
        "/static/..%2f..%2fetc/passwd",
        "/%ff%fe/",
        "/%00",
        "/%zz",
        "//evil.example/api/v1/auth/me/",
        "http://evil.example/api/v1/auth/me/",
        "/%0d%0aSet-Cookie:%20evil=1/",
        "/api/v1/chat/teacher/conversations/%2e%2e/",
    ],
)
def test_tricks_with_paths_lead_nowhere(victim: Victim, path: str) -> None:
    status, answer = victim.get(path, victim.as_student())
    assert status in {400, 404}
    assert "evil=1" not in answer
    assert not re.search("root:|SECRET_KEY", answer)


@pytest.mark.parametrize(
    "path",
    [
        "/ws/chat/../",
        "/ws/chat/../chat/my-conversation/",
        "/ws/chat/%2e%2e/",
        "/ws/chat/my-conversation",
        "/ws/chat/my-conversation/x",
        "/WS/CHAT/my-conversation/",
        "/ws/chat/conversations/1%00/",
        "/ws/chat/conversations/%d9%a1/",
        "/ws/chat/conversations/-1/",
        f"/ws/chat/conversations/{'9' * 4000}/",
        "/ws/chat/%ff/",
        "/api/v1/auth/me/",
        "/",
    ],
)
def test_tricks_with_socket_paths_are_refused(victim: Victim, path: str) -> None:
    with victim.socket(path) as socket:
        assert socket.status == 403


def test_an_encoded_slash_opens_nothing_more(victim: Victim) -> None:
    foreign = victim.other.conversation_id
    for path in (f"/ws/chat/conversations%2f{foreign}/", f"/ws/chat%2fconversations/{foreign}%2f"):
        for person in (victim.pair.student, victim.pair.teacher):
            with victim.socket(path, Cookie=person.cookie) as socket:
                assert socket.status == 403


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://evil.example",
        "http://127.0.0.1.evil.example",
        "http://evil@{host}",
        "{upper}",
        "{url}/",
        "{url}.",
        "{url}.evil.example",
        "{url} http://evil.example",
        "{url}, {url}",
        "{url}\r\nOrigin: {url}",
        "{url}\r\nOrigin: http://evil.example",
        "https://{host}",
        "http://127.0.0.1",
        "http://[x",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:x",
        "\xff://127.0.0.1",
        "file://",
    ],
)
def test_only_our_own_pages_open_a_socket(victim: Victim, origin: str) -> None:
    url = victim.server.url
    text = origin.replace("{upper}", url.upper()).replace("{url}", url).replace("{host}", url.removeprefix("http://"))
    with victim.socket(Origin=text) as socket:
        assert socket.status == 403 or (socket.status == 400 and text.count("\r\n"))  # websockets' own, of two
        assert b"evil" not in socket.head


def test_no_socket_opens_without_an_origin_or_with_an_old_header(victim: Victim) -> None:
    cookie, url = victim.pair.student.cookie, victim.server.url
    for headers in (
        {"Cookie": cookie},
        {"Cookie": cookie, "Sec-WebSocket-Origin": url},
        {"Cookie": cookie, "Referer": url},
    ):
        with RawSocket(victim.server.port, STUDENT, headers=headers) as socket:
            assert socket.status == 403


def test_a_rebound_domain_opens_no_socket(victim: Victim) -> None:
    """DNS rebinding."""
    name = f"evil.example:{victim.server.port}"
    handshake = HANDSHAKE.replace("{host}", name)
    headers = {"Cookie": victim.pair.student.cookie, "Origin": f"http://{name}"}
    with RawSocket(victim.server.port, STUDENT, headers=headers, handshake=handshake) as socket:
        assert socket.status == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "FOO", "CONNECT"])
def test_other_methods_do_nothing(victim: Victim, method: str) -> None:
    before = victim.stored()
    assert victim.get(MESSAGES, victim.as_student(), method)[0] == 405
    assert victim.post(MESSAGES, "{}", f"X-HTTP-Method-Override: {method}\r\n")[0] == 400
    assert victim.stored() == before


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/html"],
)
def test_content_types_of_cross_site_forms_are_refused(victim: Victim, content_type: str) -> None:
    before = victim.stored()
    assert victim.post(MESSAGES, '{"content": "by a form"}', content_type=content_type)[0] in {400, 415}
    assert victim.stored() == before


def test_a_sender_sets_only_text_and_client_id(victim: Victim) -> None:
    own = {"content": "mass", "client_id": "mine"}
    student, teacher = victim.pair.student.user_id, victim.pair.teacher.user_id
    theirs = {"id": 1, "sender": teacher, "is_read": True, "seq": 99, "conversation": victim.other.conversation_id}
    more = {"timestamp": "2020-01-01T00:00:00Z", "sender_profile": {"user_id": teacher, "role": "ADMIN"}}
    status, answer = victim.post(MESSAGES, json.dumps(own | theirs | more))
    stored = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])
    assert status == 201
    assert (stored["sender"], stored["is_read"], stored["content"]) == (student, False, "mass")
    assert stored["sender_profile"]["role"] == "STUDENT"
    assert not stored["timestamp"].startswith("2020")
    with victim.socket() as socket:
        socket.receive()
        socket.send(json.dumps({"message": "mass"} | theirs | more | {"type": "new_message"}))
        _, frame_text = socket.receive() or (0, b"{}")
        assert json.loads(frame_text)["message"]["sender"] == student


@pytest.mark.parametrize(
    "text", ['{"content": ' + "[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a":' * 20_000, "9" * 100_000]
)
def test_json_that_is_deep_or_endless_is_refused_at_once(victim: Victim, text: str) -> None:
    begin = time.monotonic()
    assert victim.post(MESSAGES, text)[0] == 400
    assert victim.post("/api/v1/auth/login/", text)[0] == 400
    with victim.socket() as socket:
        socket.receive()
        socket.send(text[:60_000])
        _, said = socket.receive() or (0, b"{}")
        assert json.loads(said)["code"] in {"invalid_json", "invalid_frame"}
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("length", ["Content-Length: 1000000000000\r\n", "Transfer-Encoding: chunked\r\n"])
def test_a_body_without_end_is_refused_and_kept_nowhere(victim: Victim, length: str) -> None:
    head = f"POST {MESSAGES} HTTP/1.1\r\nHost: 127.0.0.1\r\n{victim.as_student()}{length}"
    head += "Content-Type: application/json\r\n\r\n"
    before = victim.server.megabytes
    with RawSocket(victim.server.port, handshake=head, wait=False, seconds=3) as socket:
        with suppress(ConnectionError, TimeoutError):
            for _ in range(300):
                socket.send_bytes(b"100000\r\n" + b"a" * 2**20 + b"\r\n")
        with suppress(TimeoutError):
            socket.answer()
        assert socket.status in {413, None}
    assert victim.server.megabytes - before < 20


@pytest.mark.parametrize(
    "request_line_and_headers",
    [
        f"GET /{'a' * 200_000} HTTP/1.1\r\n{{host}}",
        f"GET / HTTP/1.1\r\n{{host}}X: {'a' * 1_000_000}\r\n",
        "GET / HTTP/1.1\r\n{host}" + "".join(f"X-{number}: {'a' * 50}\r\n" for number in range(10_000)),
    ],
)
def test_a_head_without_end_is_refused(victim: Victim, request_line_and_headers: str) -> None:
    assert victim.ask(request_line_and_headers + "{close}\r\n")[0] in {400, 414, 431, None}


def test_compression_is_not_agreed_to(victim: Victim) -> None:
    """A few bytes would become many megabytes, and secrets beside chosen text could be guessed by length."""
    offer = "permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    with victim.socket(**{"Sec-WebSocket-Extensions": offer}) as socket:
        assert socket.status == 101
        assert b"extensions" not in socket.head.lower()
        compressed = bytearray(frame(b"\x00" * 100))
        compressed[0] |= 0x40
        socket.send_bytes(bytes(compressed))
        assert socket.close_code() == 1002


def test_a_session_key_counts_only_in_the_cookie(victim: Victim) -> None:
    key = victim.pair.student.session_key
    for path in (f"{STUDENT}?sessionid={key}", f"{STUDENT}?token={key}"):
        with victim.socket(path, Cookie="") as socket:
            assert socket.status == 403
    for header in ("Authorization", "X-Session-Id"):
        with victim.socket(Cookie="", **{header: f"Bearer {key}"}) as socket:
            assert socket.status == 403
    guesses = [key[:-1], key + "x", key.upper(), key[::-1], "", "0" * 32, "%00", "\xff" * 32, "a" * 5000, f"{key}%00"]
    for guess in guesses:
        with victim.socket(Cookie=f"sessionid={guess}") as socket:
            assert socket.status == 403, guess
        assert victim.get("/api/v1/auth/me/", f"Cookie: sessionid={guess}\r\n")[0] == 401


def test_message_ids_of_others_reveal_nothing(victim: Victim) -> None:
    with RawSocket(
        victim.server.port, STUDENT, headers={"Cookie": victim.other.student.cookie, "Origin": victim.server.url}
    ) as socket:
        socket.receive()
        socket.send(json.dumps({"message": "the other pair's secret"}))
        foreign = json.loads((socket.receive() or (0, b""))[1])["message"]["id"]
    for cursor in ("before", "after"):
        status, answer = victim.get(f"{MESSAGES}?{cursor}={foreign}", victim.as_student())
        assert status == 400
        assert "secret" not in answer
    with victim.socket(f"{STUDENT}?after={foreign}") as socket:
        socket.receive()
        resumed = json.loads((socket.receive() or (0, b""))[1])
        assert (resumed["type"], resumed["recovered"], resumed["count"]) == ("resume_complete", False, 0)
        socket.send(json.dumps({"type": "mark_read", "message_id": foreign}))
        assert json.loads((socket.receive() or (0, b""))[1])["code"] == "message_not_found"


@pytest.mark.parametrize(
    "bytes_sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), bytes(range(256)) * 10, b"GET /\r\n\r\n"],
)
def test_bytes_that_are_not_http_end_the_connection(victim: Victim, bytes_sent: bytes) -> None:
    begin = time.monotonic()
    assert victim.ask(bytes_sent.decode("latin-1"))[0] in {400, None}
    assert time.monotonic() - begin < 14
