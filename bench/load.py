"""Load: pairs in a closed loop. The student sends, waits until the mentor's socket has it, and sends the next."""

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.chat_socket import Address, ChatSocket
from bench.environment import Sizes

AT_ONCE = 50  # handshakes under way
DRAIN_SECONDS = 5.0
Meter = Callable[[], float]


@dataclass
class Sample:
    """What came of some seconds of load; latencies are from the send to the mentor's receipt."""

    seconds: float = 0
    cpu_seconds: float = 0
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        """Messages that arrived."""
        return len(self.latencies) / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Processor time of the server per message."""
        return 1000 * self.cpu_seconds / max(1, len(self.latencies))

    def ms(self, share: float) -> float:
        """The latency that this share of the messages had at the most, in ms."""
        return percentile_ms(self.latencies, share)


def percentile_ms(latencies: Sequence[float], share: float) -> float:
    """Return the percentile of seconds in ms; nothing arrived: NaN."""
    ordered = sorted(latencies)
    return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


class Pair:
    """A student's and a mentor's socket."""

    def __init__(self, student: ChatSocket, mentor: ChatSocket) -> None:
        self.student, self.mentor = student, mentor
        self.latencies: list[float] = []
        self.pause = 0.0
        self.running = False
        self.waiting = False
        self._number, self._begin, self._mark = 0, 0.0, b""
        mentor.on_message = self._received

    def send(self) -> None:
        """Send the next message, which is unlike any before it."""
        self._number += 1
        content = f"message {self._number} of the pair: how far did you get with the exercises?"
        self._mark, self.waiting, self._begin = content.encode(), True, time.perf_counter()
        self.student.send_message(content)

    def _received(self, frame: bytes) -> None:
        if not self.waiting or self._mark not in frame:
            self.mentor.faults.append("a message came that was not the one just sent")
            return
        self.latencies.append(time.perf_counter() - self._begin)
        self.waiting = False
        if not self.running:
            return
        if self.pause:
            asyncio.get_running_loop().call_later(self.pause, self._go_on)
        else:
            self.send()

    def _go_on(self) -> None:
        if self.running:
            self.send()

    def faults(self) -> list[str]:
        """What went wrong, in words."""
        cut = [f"closed with {s.close_code}" for s in (self.student, self.mentor) if s.close_code is not None]
        return [*self.student.faults, *self.mentor.faults, *cut, *(["a message never came"] if self.waiting else [])]


async def open_sockets(
    socket_class: type[ChatSocket], addresses: Sequence[Address], at_once: int = AT_ONCE
) -> list[ChatSocket]:
    """Connect to all of them, in their order."""
    gate = asyncio.Semaphore(at_once)

    async def opened(address: Address) -> ChatSocket:
        async with gate:
            return await socket_class(address).connect()

    tasks = [asyncio.create_task(opened(address)) for address in addresses]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        for socket in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(socket, ChatSocket):
                socket.leave()
        raise


class Load:
    """`async with Load(socket_class, people) as load`: the open pairs."""

    def __init__(
        self, socket_class: type[ChatSocket], people: Sequence[tuple[Address, Address]], pause: float = 0
    ) -> None:
        self._socket_class, self._people, self._pause = socket_class, people, pause
        self.pairs: list[Pair] = []

    async def __aenter__(self) -> "Load":
        sockets = await open_sockets(self._socket_class, [address for pair in self._people for address in pair])
        self.pairs = [Pair(*two) for two in zip(sockets[::2], sockets[1::2], strict=True)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for pair in self.pairs:
            pair.student.leave()
            pair.mentor.leave()
        await asyncio.sleep(0.2)

    def begin(self) -> None:
        """Set all pairs writing, not all in the same instant where they pause."""
        for number, pair in enumerate(self.pairs):
            pair.pause, pair.running = self._pause, True
            delay = self._pause * number / len(self.pairs)
            asyncio.get_running_loop().call_later(delay, pair.send)

    async def sample(self, seconds: float, cpu: Meter = lambda: 0.0) -> Sample:
        """Watch them for so long."""
        self.reset()
        begin, before = time.perf_counter(), cpu()
        await asyncio.sleep(seconds)
        return self.taken(begin, before, cpu)

    def reset(self) -> None:
        """Forget the latencies up to now."""
        for pair in self.pairs:
            pair.latencies = []

    def taken(self, begin: float, cpu_before: float = 0, cpu: Meter = lambda: 0.0) -> Sample:
        """What was measured since `reset`, which was at the time `begin`."""
        latencies = [latency for pair in self.pairs for latency in pair.latencies]
        return Sample(time.perf_counter() - begin, cpu() - cpu_before, latencies)

    async def end(self) -> list[str]:
        """Let them fall silent; returns what went wrong, what never came included."""
        for pair in self.pairs:
            pair.running = False
        deadline = time.monotonic() + DRAIN_SECONDS
        # An event would have to be set in the path that is timed.
        while any(pair.waiting for pair in self.pairs) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return [fault for pair in self.pairs for fault in pair.faults()]


async def closed_loop(
    socket_class: type[ChatSocket], people: Sequence[tuple[Address, Address]], sizes: Sizes, cpu: Meter
) -> tuple[Sample, list[str]]:
    """Run these pairs, and watch them after a warm-up; returns the figures and what went wrong."""
    async with Load(socket_class, people) as load:
        load.begin()
        await asyncio.sleep(sizes.warm_up_seconds)
        sample = await load.sample(sizes.seconds, cpu)
        return sample, await load.end()


def median(values: Sequence[float]) -> float:
    """The median; of nothing: NaN."""
    return statistics.median(values) if values else float("nan")
