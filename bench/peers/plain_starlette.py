"""The chat without Django: Starlette on uvicorn, asyncpg in the event loop, batched messages, Redis between processes.

The strongest that plain Python does here: no numbering without gaps, no repeats by `client_id`, no healing, no watch on
sessions, no check of the origin.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import asyncpg
import msgspec
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

ENTER = """
SELECT person.id, username, email, full_name, role FROM peer_session
JOIN peer_person person ON person.id = person_id
JOIN peer_conversation conversation ON conversation.id = $2 AND person.id IN (student_id, teacher_id)
WHERE key = $1 AND expires_at > now()
"""
MARK_READ = "UPDATE peer_message SET is_read = true WHERE conversation_id = $1 AND sender_id <> $2 AND NOT is_read"
STORE = """
WITH given AS (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS row (conversation, sender, content)),
inserted AS (
    INSERT INTO peer_message (conversation_id, sender_id, content, sent_at, is_read)
    SELECT conversation, sender, content, now(), false FROM given RETURNING id, sent_at
), touched AS (UPDATE peer_conversation SET updated_at = now() WHERE id IN (SELECT conversation FROM given))
SELECT id, sent_at FROM inserted ORDER BY id
"""
GROUP = "peer_chat"
PROCESS = token_hex(8)

Message = dict[str, Any]
encode, decode = msgspec.json.encode, msgspec.json.decode


class Chat:
    """The sockets of this process, the messages that wait to be stored, and what waits to be published."""

    def __init__(self, database: asyncpg.Pool, redis: Redis) -> None:
        self.database, self.redis = database, redis
        self.rooms: dict[int, dict[WebSocket, int]] = defaultdict(dict)  # by conversation: each socket and its person
        self.drafts: list[tuple[int, Message, asyncio.Future[None]]] = []
        self.events: list[bytes] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start it, unless one of this name is running, which will see what is new."""
        if (running := self.tasks.get(name)) and not running.done():
            work.close()
        else:
            self.tasks[name] = asyncio.create_task(work)

    async def send(self, conversation: int, person: Message, content: str) -> None:
        """Store a message with all that wait, and tell everybody."""
        message = {"sender": person["id"], "sender_profile": person, "content": content, "is_read": False}
        stored = asyncio.get_running_loop().create_future()
        self.drafts.append((conversation, message, stored))
        self.run("store", self.store())
        await stored

    async def store(self) -> None:
        """Commit batch after batch while messages wait."""
        while self.drafts:
            drafts, self.drafts = self.drafts, []
            columns = [(conversation, message["sender"], message["content"]) for conversation, message, _ in drafts]
            rows = await self.database.fetch(STORE, *map(list, zip(*columns, strict=True)))
            for (conversation, message, stored), (pk, sent_at) in zip(drafts, rows, strict=True):
                message |= {"id": pk, "timestamp": sent_at}
                self.events.append(encode({"from": PROCESS, "conversation": conversation, "message": message}))
                await self.deliver(conversation, message)
                stored.set_result(None)
            self.run("publish", self.publish())

    async def deliver(self, conversation: int, message: Message) -> None:
        """Send a message to the sockets that are here."""
        for socket, person in list(self.rooms[conversation].items()):
            own = {**message, "is_own_message": message["sender"] == person}
            await socket.send_text(encode({"type": "new_message", "message": own}).decode())

    async def publish(self) -> None:
        """Tell the other processes, in one go each time."""
        while self.events:
            events, self.events = self.events, []
            async with self.redis.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.publish(GROUP, event)
                await pipeline.execute()

    async def listen(self) -> None:
        """Deliver what the other processes publish."""
        async with self.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(GROUP)
            async for event in pubsub.listen():
                found = decode(event["data"])
                if found["from"] != PROCESS:
                    await self.deliver(found["conversation"], found["message"])


async def chat_socket(socket: WebSocket) -> None:
    """One participant's socket in one conversation."""
    chat: Chat = socket.app.state.chat
    conversation = socket.path_params["conversation"]
    row = await chat.database.fetchrow(ENTER, socket.cookies.get("sessionid", ""), conversation)
    if row is None:
        return await socket.close()
    person = dict(row)
    await chat.database.execute(MARK_READ, conversation, person["id"])
    await socket.accept()
    chat.rooms[conversation][socket] = person["id"]
    await socket.send_json({"type": "connection_established", "conversation_id": str(conversation)})
    try:
        while True:
            content = decode(await socket.receive_text())["message"]
            await chat.send(conversation, person, content)
    except WebSocketDisconnect:
        del chat.rooms[conversation][socket]


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Hold the connections while the server runs."""
    redis = Redis.from_url(os.environ["REDIS_URL"])
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=2, max_size=10) as database, redis:
        app.state.chat = chat = Chat(database, redis)
        chat.run("listen", chat.listen())
        yield
        chat.tasks["listen"].cancel()


routes = [WebSocketRoute("/ws/chat/conversations/{conversation:int}/", chat_socket)]
application = Starlette(routes=routes, lifespan=lifespan)
