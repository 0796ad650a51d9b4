"""Helpers for the tests of sockets: the frames of the contract, and ways to open a socket."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.test import AsyncClient

from accounts.models import User
from chat.models import Conversation, Message
from tests.conftest import Connect, Socket
from tests.people import People, message_object, session_cookie

T = TypeVar("T")

STUDENT_MESSAGES = "/api/v1/chat/my-conversation/messages/"


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Run something that needs the database beside the event loop."""
    return await sync_to_async(function)(*args, **kwargs)


def established(conversation: Conversation) -> dict[str, Any]:
    """Return the first frame."""
    pk = conversation.pk
    return {"type": "connection_established", "conversation_id": str(pk), "room_group_name": f"chat_{pk}"}


async def new_message(message: Message, reader: User, client_id: str | None = None, **changed: Any) -> dict[str, Any]:
    """Return the frame of a stored message; `changed`: what was otherwise when it was sent."""
    shown = await in_thread(message_object, message, reader)
    frame = {"type": "new_message", "message": shown | changed}
    return frame if client_id is None else frame | {"client_id": client_id}


def message_status(reader: User, *message_ids: int) -> dict[str, Any]:
    """Return the frame that tells what became read."""
    return {
        "type": "update_message_status",
        "message_ids": list(message_ids),
        "is_read": True,
        "reader": reader.pk,
    }


def resume_complete(count: int, read_up_to: int | None = None, *, recovered: bool = True) -> dict[str, Any]:
    """Return the frame that ends a replay."""
    return {"type": "resume_complete", "recovered": recovered, "count": count, "read_up_to": read_up_to}


EMPTY = {"error": "Message content cannot be empty.", "code": "empty_message"}
CLOSED = {"error": "This conversation is closed.", "code": "conversation_closed"}
NO_MESSAGE = {"error": "No such message in this conversation.", "code": "message_not_found"}


@asynccontextmanager
async def connected(connect: Connect, *args: Any, **kwargs: Any) -> AsyncIterator[Socket]:
    """`connect`, with the first frame received."""
    async with connect(*args, **kwargs) as socket:
        assert (await socket.receive_json())["type"] == "connection_established"
        yield socket


async def receive_many(socket: Any, count: int) -> list[Any]:
    """Return the next frames."""
    return [await socket.receive_json() for _ in range(count)]


async def ended(*names: str) -> None:
    """Wait for the tasks of these names in the running event loop."""
    if tasks := [task for task in asyncio.all_tasks() if task.get_name() in names]:
        await asyncio.wait(tasks)


async def settled() -> None:
    """Wait until the extra checks of new sockets are done."""
    await ended("healing-now-batches", "healing-later-batches")


async def http(user: User, key: str | None = None) -> Any:
    """Return a client of the REST interface, in the sockets' event loop, signed in as this user."""
    client = AsyncClient()
    client.cookies["sessionid"] = await in_thread(session_cookie, user) if key is None else key
    return client


def socket_of(user: User, path: Conversation | str | None = None, query: str = "") -> Socket:
    """Return a socket of the whole application, not connected yet; asks the database."""
    from qader.asgi import application

    if isinstance(path, Conversation):
        path = f"conversations/{path.pk}/"
    headers = [
        (b"origin", b"http://localhost"),
        (b"host", b"localhost"),
        (b"cookie", f"sessionid={session_cookie(user)}".encode()),
    ]
    return Socket(application, f"/ws/chat/{path or 'my-conversation/'}{query}", headers)


def key_of(socket: Socket) -> str:
    """Return the key of the session that the socket came with."""
    return socket.headers[b"cookie"].decode().removeprefix("sessionid=")


async def still_works(socket: Socket, people: People) -> None:
    """Check that the socket sends and receives."""
    await socket.send_json({"message": "still here", "client_id": "still"})
    stored_frame = await socket.receive_json()
    assert stored_frame == await new_message(await Message.objects.alatest("seq"), people.student, "still")
    assert await Message.objects.acount() == 1
