"""A chat client that reconnects and repeats as the contract wants, and checks every frame against it.

It resumes with `?after=`, repeats unacknowledged messages under the same `client_id`, fetches the history over REST
if it cannot resume, and keeps the messages as it would show them.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import httpx

from tests.e2e.cluster import Person
from tests.e2e.connection import ConnectionRecord, Sending
from tests.e2e.rest import Message, Rest
from tests.e2e.server import Reachable
from tests.e2e.shown_messages import ShownMessages
from tests.websocket_client import HandshakeRefusedError, SocketClosedError

FINAL_CODES = {4401, 4403, 4404}  # close codes after which coming back by oneself is no use
BACKOFF_SECONDS = 0.05, 1.0
REPEAT_SECONDS = 0.3  # between "temporarily_unavailable" and the next try
SILENCE_SECONDS = 9.0  # 5 by the contract; the rest is for a machine that is busy with many of us


class Client(ShownMessages):
    """One person at one screen; `async with Client(...)` stays connected to one of `servers` as well as it can.

    What the server does against the contract is collected in `faults`. Where the network itself fails, silence is no
    fault: a patient client connects again, as a browser's would.
    """

    def __init__(
        self,
        person: Person,
        servers: Sequence[Reachable],
        *,
        rng: random.Random | None = None,
        name: str = "",
        query: str = "",
        mark_read: bool = True,
        is_patient: bool = False,
    ) -> None:
        super().__init__(name or person.username)
        self.person, self.servers = person, servers
        self.rng = rng or random.Random(self.name)
        self.connections: list[ConnectionRecord] = []
        self.acknowledged: dict[str, int] = {}
        self.errors: list[dict[str, Any]] = []
        self._query, self._mark_read, self._is_patient = query, mark_read, is_patient
        self._pending: dict[str, Sending] = {}
        self._socket: Any = None
        self._repeating: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._rests: dict[Reachable, Rest] = {}
        self._token, self._count = secrets.token_hex(4), 0

    async def __aenter__(self) -> "Client":
        self._running = asyncio.create_task(self._run(), name=self.name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._running, self._repeating):
            if task:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        for rest in self._rests.values():
            await rest.__aexit__()

    # What a person does.

    async def say(self, content: str, *, over_rest: bool = False) -> int:
        """Send a message, as often as it takes; returns its id when it is acknowledged."""
        self._count += 1
        client_id = f"{self.name}/{self._token}/{self._count}"
        sending = Sending(client_id, content, asyncio.get_running_loop().create_future())
        self._pending[client_id] = sending
        if over_rest:
            await self._post(sending)
        else:
            await self._transmit(sending)
            await self._expect_answer(sending)
        return await sending.stored

    async def mark_read(self, message_id: int | None = None) -> None:
        """Mark everything, or all up to this message, as read; nothing answers, and it may be lost with the socket."""
        frame = {"type": "mark_read"} if message_id is None else {"type": "mark_read", "message_id": message_id}
        await self._send(frame)

    async def drop(self) -> None:
        """Lose the connection; it comes back by itself."""
        connection = self.connection
        await self._socket.close()
        await self.until(lambda: self.connection is not connection and self.ready, SILENCE_SECONDS)

    def rest(self, server: Reachable) -> Rest:
        return self._rests.setdefault(server, Rest(self.person, server))

    # What a test asks.

    @property
    def connection(self) -> ConnectionRecord:
        """The present connection, or the last one."""
        return self.connections[-1]

    @property
    def ready(self) -> bool:
        """Whether it is connected and has what it missed."""
        return bool(self.connections) and self.connection.ready and not self.connection.ended

    async def until_ready(self, seconds: float) -> bool:
        """Wait until it is connected and has what it missed; return whether it came to that."""
        return await self.until(lambda: self.ready, seconds)

    async def until(self, condition: Callable[[], object], seconds: float) -> bool:
        """Wait until the condition holds, which is checked after every frame; return whether it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        return bool(condition())

    # How it works.

    async def _run(self) -> None:
        pause = BACKOFF_SECONDS[0]
        while True:
            connection = ConnectionRecord(max(self.messages, default=None), self.rng.choice(self.servers))
            self.connections.append(connection)
            with suppress(OSError, TimeoutError, HandshakeRefusedError, SocketClosedError, httpx.HTTPError):
                await self._stay_connected(connection)
            connection.ended, self._socket = True, None
            self._changed.set()
            if connection.close_code in FINAL_CODES:
                return
            pause = BACKOFF_SECONDS[0] if connection.established else min(2 * pause, BACKOFF_SECONDS[1])
            await asyncio.sleep(pause * self.rng.uniform(0.5, 1))

    async def _stay_connected(self, connection: ConnectionRecord) -> None:
        parts = [self._query] if self._query else []
        parts += [f"after={connection.after}"] if connection.after is not None else []
        parts += [] if self._mark_read else ["mark_read=false"]
        query = "?" + "&".join(parts) if parts else ""
        async with self.person.socket(connection.server, query, open_seconds=8, close_seconds=1) as socket:
            try:
                async for text in socket:
                    frame = json.loads(text)
                    connection.frames.append(frame)
                    await self._on_frame(connection, frame, socket)
                    self._changed.set()
            finally:
                connection.close_code = socket.close_code

    async def _on_frame(self, connection: ConnectionRecord, frame: dict[str, Any], socket: Any) -> None:
        if not connection.established:
            await self._on_established(connection, frame, socket)
        elif "error" in frame:
            self._on_error(frame)
        elif frame["type"] == "new_message":
            self._on_message(connection, frame)
        elif frame["type"] == "update_message_status":
            self._on_status(connection, frame)
        elif frame["type"] == "resume_complete":
            await self._on_resumed(connection, frame)
        else:
            self._check(False, f"unexpected frame {frame}")

    async def _on_established(self, connection: ConnectionRecord, frame: dict[str, Any], socket: Any) -> None:
        connection.established = True
        conversation = frame.get("conversation_id")
        expected = {
            "type": "connection_established",
            "conversation_id": conversation,
            "room_group_name": f"chat_{conversation}",
        }
        self._check(frame == expected and isinstance(conversation, str), f"first frame {frame}")
        self._socket = socket
        if self._mark_read:
            self._mark({pk for pk, message in self.messages.items() if not message["is_own_message"]})
        if connection.after is None:
            await self._fetch_history(connection)
        if connection.after is None or self.rng.random() < 0.5:  # else behind the replay, which may hold some of them
            await self._repeat_pending()

    async def _on_resumed(self, connection: ConnectionRecord, frame: dict[str, Any]) -> None:
        self._check(connection.after is not None and connection.recovered is None, f"unasked {frame}")
        connection.recovered = frame["recovered"]
        replayed = [
            f for f in connection.frames if f.get("type") == "new_message" and f["message"]["id"] in connection.ids
        ]
        self._check(
            frame["count"] == (len(replayed) if connection.recovered else 0), f"{len(replayed)} replayed, {frame}"
        )
        own = {pk for pk, message in self.messages.items() if message["is_own_message"]}
        if frame["read_up_to"] is not None:
            self._check(frame["read_up_to"] in own or not connection.recovered, f"not one's own: {frame}")
            self._mark({pk for pk in own if pk <= frame["read_up_to"]})
        if connection.recovered:
            connection.ready = True
        else:
            await self._fetch_history(connection)
        await self._repeat_pending()

    async def _fetch_history(self, connection: ConnectionRecord) -> None:
        for message in await self.rest(connection.server).history():
            self._learn(message)
        connection.ready = True

    def _on_message(self, connection: ConnectionRecord, frame: dict[str, Any]) -> None:
        message, client_id = frame["message"], frame.get("client_id")
        pk = message["id"]
        own = message["sender"] == self.person.user_id
        self._check(message["is_own_message"] == own, f"whose is it? {frame}")
        self._check(own or client_id is None, f"somebody else's client_id: {frame}")
        last = max(connection.ids[-1] if connection.ids else 0, connection.after or 0)
        if pk > last:
            connection.ids.append(pk)
        else:
            self._check(client_id in connection.repeated, f"{pk} after {last} in one life")
            self._check(pk not in connection.ids and pk not in connection.late, f"{pk} twice in one life")
            connection.late.add(pk)
        self._learn(message)
        if client_id is not None:
            self._acknowledge(client_id, message)

    def _on_status(self, connection: ConnectionRecord, frame: dict[str, Any]) -> None:
        ids, reader = frame["message_ids"], frame["reader"]
        self._check(1 <= len(ids) <= 500 and frame["is_read"] is True, f"{frame}")
        told = {(reader, pk) for pk in ids}
        self._check(len(told) == len(ids) and not told & connection.told_read, f"told twice to be read: {frame}")
        connection.told_read |= told
        for pk in ids:
            self._check(self.messages.get(pk, {}).get("sender") != reader, f"{reader} read their own {pk}")
        self._mark(set(ids))

    def _on_error(self, frame: dict[str, Any]) -> None:
        self.errors.append(frame)
        self._check(frame["code"] == "temporarily_unavailable", f"error {frame}")
        if self._repeating is None or self._repeating.done():
            self._repeating = asyncio.create_task(self._repeat_soon())

    async def _repeat_soon(self) -> None:
        await asyncio.sleep(REPEAT_SECONDS)
        await self._repeat_pending()

    async def _repeat_pending(self) -> None:
        for sending in list(self._pending.values()):
            await self._transmit(sending)

    async def _transmit(self, sending: Sending) -> None:
        if self._socket is not None:
            self.connection.sent.add(sending.client_id)
            if sending.tries:
                self.connection.repeated.add(sending.client_id)
            sending.tries += 1
            await self._send({"message": sending.content, "client_id": sending.client_id})

    async def _send(self, frame: dict[str, Any]) -> None:
        if self._socket is not None:
            with suppress(SocketClosedError):
                await self._socket.send(json.dumps(frame))

    async def _expect_answer(self, sending: Sending) -> None:
        """An open socket must answer each send, at least with an error."""
        while not sending.stored.done():
            before = len(self.connections), len(self.errors), sending.tries
            await asyncio.wait([sending.stored], timeout=SILENCE_SECONDS)
            received = sending.stored.done() or before != (len(self.connections), len(self.errors), sending.tries)
            waits = self._socket is not None and sending.client_id in self.connection.sent
            if waits and not received and self._is_patient:
                await self._socket.close()
                continue
            self._check(received or not waits, f"no answer to {sending.client_id} in {SILENCE_SECONDS} s")

    async def _post(self, sending: Sending) -> None:
        body = {"content": sending.content, "client_id": sending.client_id}
        while not sending.stored.done():
            rest = self.rest(self.rng.choice(self.servers))
            sending.tries += 1
            begin = time.monotonic()
            try:
                answer = await rest.ask("POST", rest.messages_path, body)
            except httpx.TransportError:  # that process is gone
                await asyncio.sleep(REPEAT_SECONDS)
                continue
            seconds = time.monotonic() - begin
            self._check(answer.status_code in {200, 201, 503}, f"POST: {answer.status_code} {answer.text}")
            self._check(self._is_patient or seconds < SILENCE_SECONDS, f"POST took {seconds:.1f} s")
            if answer.status_code in {200, 201}:
                self._acknowledge(sending.client_id, answer.json())
            else:
                await asyncio.sleep(REPEAT_SECONDS)

    def _acknowledge(self, client_id: str, message: Message) -> None:
        first = self.acknowledged.setdefault(client_id, message["id"])
        self._check(first == message["id"], f"{client_id} is {first} and {message['id']}")
        if sending := self._pending.pop(client_id, None):
            self._check(sending.content == message["content"], f"{client_id} says {message['content']}")
            if not sending.stored.done():
                sending.stored.set_result(message["id"])
