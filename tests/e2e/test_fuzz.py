"""Random and malformed frames end no socket without a documented close code, and no process."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests import servers
from tests.contract import check_frame
from tests.e2e.cluster import Cluster, Databases, Pair
from tests.e2e.server import WebServer
from tests.websocket_client import RawSocket
from tests.websocket_client.frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

EXAMPLES = 150  # for each server
LIMIT = 64 * 1024
TOO_BIG, NOT_TEXT = 1009, 1007
LAST_WORD = '{"message": "the last word"}'

TYPES = {"connection_established", "new_message", "update_message_status", "pong"}
CODES = {
    "empty_message",
    "invalid_json",
    "invalid_frame",
    "invalid_characters",
    "message_too_long",
    "message_not_found",
    "rate_limited",
}
INBOX_CODES = {"conversation_not_established", "invalid_json", "invalid_frame", "rate_limited"}


@dataclass(frozen=True)
class Sent:
    """One message of a client's, perhaps in several frames with pings between them."""

    payload: bytes
    opcode: int = TEXT
    cuts: tuple[float, ...] = ()
    ping: bool = False

    def __repr__(self) -> str:
        shown = self.payload if len(self.payload) < 200 else self.payload[:20] + b"..."
        return f"Sent({shown!r} of {len(self.payload)}, {self.opcode}, {self.cuts}, {self.ping})"

    def send(self, socket: RawSocket) -> None:
        edges = [0, *sorted(int(cut * len(self.payload)) for cut in self.cuts), len(self.payload)]
        parts = [self.payload[start:end] for start, end in pairwise(edges)]
        # The library under uvicorn counts a ping towards the size of the message that it interrupts.
        ping = b"?" * min(125, max(0, LIMIT - len(self.payload)))
        for number, part in enumerate(parts):
            socket.send(part, CONTINUATION if number else self.opcode, fin=number == len(parts) - 1)
            if self.ping:
                socket.send(ping, PING)

    @property
    def close_codes(self) -> set[int]:
        """What may end the socket behind this."""
        too_big = {TOO_BIG} if len(self.payload) > LIMIT else set()
        return too_big | ({NOT_TEXT} if self.opcode == TEXT and not is_utf8(self.payload) else set())


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=40)
    | st.sampled_from(["", "  ", "\0", "\ud800", "a" * 4001, "٣", "-1", "9" * 5000, "101", "😀" * 65])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
names = st.sampled_from(["message", "client_id", "type", "message_id", "is_typing", "error", "id"]) | st.text(
    max_size=8
)
kinds = st.sampled_from(["mark_read", "ping", "typing", "new_message", "websocket.disconnect", "event"]) | values
objects = st.dictionaries(names, values, max_size=5)
known = st.builds(lambda kind, rest: {**rest, "type": kind}, kinds, objects)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


deep = st.builds(
    lambda depth, opening: (opening * depth).encode()[:LIMIT],
    st.sampled_from([10, 500, 1000, 5000, 30_000, 60_000]),
    st.sampled_from(["[", '{"a":', '{"message":[']),
)
numbers = st.sampled_from(
    [b"1" * 60_000, b'{"message_id":' + b"9" * 5000 + b',"type":"mark_read"}', b"1e999999", b"-0", b"NaN"]
)
odd = st.sampled_from(
    [
        b"",
        b"\xff",
        b"\xed\xa0\x80",
        b'{"message":"\xff"}',
        b"\xef\xbb\xbf{}",
        b'{"a":1}{',
        b"x" * LIMIT,
        b"x" * (LIMIT + 1),
    ]
)
payloads = st.one_of(
    *(strategy.map(as_json) for strategy in (values, objects, known)), deep, numbers, odd, st.binary(max_size=200)
)
opcodes = st.sampled_from([TEXT, TEXT, TEXT, BINARY])
cuts = st.lists(st.floats(0, 1), max_size=3).map(tuple)
# Not st.builds(), which hypothesis would print with all of a payload.
messages = st.tuples(payloads, opcodes, cuts, st.booleans()).map(lambda parts: Sent(*parts))


@dataclass
class Target:
    """One server and the pair whose student sends."""

    server: WebServer
    pair: Pair

    def socket(self, path: str | None = None) -> RawSocket:
        headers = {"Cookie": self.pair.student.cookie, "Origin": self.server.url}
        return RawSocket(self.server.port, f"/ws/chat/{path or self.pair.student.path}", headers=headers)


@pytest.fixture(scope="module", params=["daphne", "uvicorn"])
def target(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Target]:
    with servers.redis() as redis:
        cluster = Cluster(databases.create(), redis)
        yield Target(cluster.start(request.param, CHAT_RATE_LIMIT="0"), cluster.make_pairs()[0])
        cluster.close()


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(sent=st.lists(messages, max_size=12))
@example(sent=[Sent(b"[" * 60_000)])
@example(sent=[Sent(b"x" * LIMIT, cuts=(0.1, 0.9), ping=True), Sent(b"x" * LIMIT, BINARY)])
@example(sent=[Sent(b"x" * (LIMIT + 1), cuts=(0.1, 0.9), ping=True), Sent(b"{}")])
@example(sent=[Sent(b'{"type":"ping"}')] * 60)
def test_no_frames_end_a_socket_without_a_documented_code(target: Target, sent: list[Sent]) -> None:
    with target.socket() as socket:
        allowed = talk(socket, sent)
        code = answers(socket)
        assert code in allowed if allowed else code is None
    assert target.server.process.poll() is None
    assert target.server.failures == []


@pytest.mark.slow
@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(sent=st.lists(messages, max_size=12))
@example(sent=[Sent(b'{"message":"x"}')] * 60)
def test_no_frames_end_an_inbox_without_a_documented_code(target: Target, sent: list[Sent]) -> None:
    with target.socket("inbox/") as socket:
        allowed = talk(socket, sent) or {1000}
        if allowed == {1000}:
            socket.send((1000).to_bytes(2), CLOSE)
        while (got := socket.receive()) and got[0] != CLOSE:
            frame = json.loads(got[1]) if got[0] == TEXT else {"type": "pong"}
            assert frame.get("type") in {"inbox_established", "pong"} or frame["code"] in INBOX_CODES
        assert got, "cut"
        assert int.from_bytes(got[1][:2]) in allowed
    assert target.server.process.poll() is None
    assert target.server.failures == []


def talk(socket: RawSocket, sent: list[Sent]) -> set[int]:
    """Send all this and the last word; return the codes with one of which the server has to close instead."""
    try:
        for message in sent:
            message.send(socket)
            if message.close_codes:
                return message.close_codes
        socket.send(LAST_WORD)
    except ConnectionError:
        pass
    return set()


def answers(socket: RawSocket) -> int | None:
    """Read on to the last word, which is None, or the close frame's code; checks whatever comes before."""
    while got := socket.receive():
        opcode, payload = got
        if opcode == CLOSE:
            return int.from_bytes(payload[:2])
        if opcode in (PING, PONG):
            continue
        assert opcode == TEXT
        check_frame("/ws/chat/my-conversation/", payload)
        frame = json.loads(payload)
        if "error" in frame:
            assert frame["code"] in CODES
        else:
            assert frame["type"] in TYPES
            if frame["type"] == "new_message" and frame["message"]["content"] == "the last word":
                return None
    return 1006
