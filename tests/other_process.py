"""A second server in the same test process: its own event loop in a thread, so its own event bus."""

import asyncio
import random
import threading
from collections.abc import Coroutine
from typing import Any

from channels.layers import InMemoryChannelLayer, channel_layers

from accounts.models import User
from chat.models import Conversation
from tests.conftest import Socket
from tests.sockets import in_thread, socket_of

ROUGH = "tests.other_process.RoughLayer"


class RoughLayer(InMemoryChannelLayer):
    """An in-memory layer between event loops that loses, repeats and reorders messages, or fails, as configured.

    `drop`, `repeat` and `swap` are the shares of messages that get lost, come twice, or come after the next one.
    `mode` "raises" or "hangs" is a layer that is away.
    """

    def __init__(
        self, drop: float = 0, repeat: float = 0, swap: float = 0, seed: int = 0, mode: str = "", **config: Any
    ) -> None:
        super().__init__(**{"capacity": 100_000, "expiry": 10**9, "group_expiry": 10**9} | config)
        self.drop, self.repeat, self.swap, self.mode = drop, repeat, swap, mode
        self.random = random.Random(seed)
        self.calls: list[tuple[str, asyncio.AbstractEventLoop]] = []
        self._loops: dict[str, asyncio.AbstractEventLoop] = {}
        self._held: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()

    async def _suffer(self, call: str) -> None:
        self.calls.append((call, asyncio.get_running_loop()))
        if self.mode == "raises":
            raise ConnectionError("away")
        while self.mode == "hangs":  # noqa: ASYNC110 - several event loops wait
            await asyncio.sleep(0.01)

    async def new_channel(self, prefix: str = "specific.") -> str:
        await self._suffer("new_channel")
        channel: str = await super().new_channel(prefix)
        self._loops[channel] = asyncio.get_running_loop()
        return channel

    async def receive(self, channel: str) -> dict[str, Any]:
        await self._suffer("receive")
        message: dict[str, Any] = await super().receive(channel)
        return message

    async def group_add(self, group: str, channel: str) -> None:
        await self._suffer("group_add")
        with self._lock:
            self.groups.setdefault(group, {})[channel] = 10**12

    async def group_discard(self, group: str, channel: str) -> None:
        await self._suffer("group_discard")
        with self._lock:
            self.groups.get(group, {}).pop(channel, None)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._suffer("group_send")
        with self._lock:
            fate = self.random.random
            if fate() < self.drop:
                return
            out = [(group, message)] * (2 if fate() < self.repeat else 1)
            if fate() < self.swap:
                self._held += out
                return
            out, self._held = out + self._held, []
            targets = [(channel, body) for name, body in out for channel in self.groups.get(name, ())]
        for channel, body in targets:
            self._hand_over(channel, body)

    def _hand_over(self, channel: str, message: dict[str, Any]) -> None:
        loop = self._loops[channel]
        if not loop.is_closed():
            loop.call_soon_threadsafe(lambda: loop.create_task(self.send(channel, message)))


def rough_layer() -> RoughLayer:
    """Return the layer in use."""
    layer = channel_layers["default"]
    assert isinstance(layer, RoughLayer)
    return layer


class RemoteSocket:
    """A socket of the other process, used from this one."""

    def __init__(self, process: "OtherProcess", socket: Socket) -> None:
        self.process, self.socket = process, socket

    async def receive_json(self, seconds: float = 5) -> Any:
        return await self.process.run(self.socket.receive_json(seconds))

    async def send_json(self, frame: Any) -> None:
        await self.process.run(self.socket.send_json(frame))

    async def close_code(self, seconds: float = 5) -> int:
        return await self.process.run(self.socket.close_code(seconds))

    async def silence(self) -> None:
        await self.process.run(self.socket.silence())


class OtherProcess:
    """`async with OtherProcess() as other`: it ends, with its sockets, when the block does."""

    async def __aenter__(self) -> "OtherProcess":
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.sockets: list[Socket] = []
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.run(self._end())
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            await asyncio.to_thread(self.thread.join, 5)
            self.loop.close()

    async def _end(self) -> None:
        for socket in self.sockets:
            await socket.disconnect()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            if task.get_name() != "writer":
                task.cancel()
        await asyncio.wait(tasks, timeout=5) if tasks else None

    async def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the other event loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))

    async def connect(self, user: User, path: Conversation | str | None = None, query: str = "") -> RemoteSocket:
        """Return an accepted socket, its first frame received."""
        socket = await in_thread(socket_of, user, path, query)
        return await self.run(self._connect(socket))

    async def _connect(self, socket: Socket) -> RemoteSocket:
        accepted, code = await socket.connect(5)
        assert accepted, code
        self.sockets.append(socket)
        assert (await socket.receive_json())["type"] == "connection_established"
        return RemoteSocket(self, socket)
