"""The shutdown sequence of a server; tests/e2e/test_server_drain.py tests it from outside."""

import asyncio
import signal
import socket
import time
from collections.abc import Iterator

import pytest

from qader.server import lifecycle
from qader.server.options import Limits, ServerOptions


@pytest.fixture
def _own_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in lifecycle.SIGNALS}
    yield
    for number, action in before.items():
        signal.signal(number, action)


class Server:
    """A server with two sockets that fail and a request that never ends; it records the calls it gets."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def refuse(self) -> None:
        self.steps.append("refuse")

    def sockets(self) -> list["Server"]:
        return [self, self]

    def restart(self) -> None:
        self.steps.append("restart")
        raise RuntimeError

    async def idle(self) -> None:
        self.steps.append("idle")
        await asyncio.Event().wait()

    async def settle(self) -> None:
        self.steps.append("settle")


@pytest.mark.usefixtures("_own_signals")
@pytest.mark.parametrize("number", lifecycle.SIGNALS)
async def test_shutdown_steps_run_in_order_and_do_not_wait_for_ever(number: signal.Signals) -> None:
    server, loop = Server(), asyncio.get_running_loop()

    def started() -> None:
        server.steps.append("started")
        loop.call_later(0.1, signal.raise_signal, number)

    limits = Limits(notice_seconds=0.1, grace_seconds=0, last_seconds=0.1)

    def stopping() -> None:
        server.steps.append("stopping")

    options = ServerOptions(None, socket.socket(), started, stopping, server.settle, limits)
    with options.listener:
        begin = loop.time()
        await lifecycle.run(server, options)
    assert server.steps == ["started", "stopping", "refuse", "restart", "restart", "idle", "settle"]
    assert loop.time() - begin > 0.25
    signal.raise_signal(number)  # one that comes too late has nothing to end


@pytest.mark.parametrize(
    ("later", "hurries"),
    [
        ([(0.1, signal.SIGTERM), (0.9, signal.SIGTERM)], False),
        ([(0.1, signal.SIGINT)], True),
        ([(0.1, signal.SIGTERM), (1.1, signal.SIGTERM)], True),
    ],
)
async def test_equal_signals_within_a_second_are_one(later: list[tuple[float, signal.Signals]], hurries: bool) -> None:
    signals, loop = lifecycle.StopSignals(), asyncio.get_running_loop()
    signals.receive(signal.SIGTERM)
    for seconds, number in later:
        loop.call_later(seconds, signals.receive, number)
    assert signals.stop_requested.is_set()
    await asyncio.sleep(later[-1][0] + 0.05)  # the time itself is what is tested
    assert signals.skip_waits.is_set() == hurries


class Socket:
    """An open WebSocket that notes when it is closed."""

    def __init__(self, number: int, closed: list[tuple[int, float]]) -> None:
        self.number, self.closed = number, closed

    def restart(self) -> None:
        self.closed.append((self.number, time.monotonic()))


async def closed_in_turn(size: int, limits: Limits, hurried: asyncio.Event) -> list[tuple[int, float]]:
    """Close this many sockets in turn; return the number of each, and after how many seconds it was closed."""
    begin = time.monotonic()
    closed: list[tuple[int, float]] = []
    await lifecycle._close_in_turn([Socket(number, closed) for number in range(size)], limits, hurried)
    assert [number for number, _ in closed] == list(range(size))
    return [(number, moment - begin) for number, moment in closed]


async def test_a_busy_server_does_not_take_longer() -> None:
    async def work() -> None:
        while True:
            time.sleep(0.02)  # noqa: ASYNC251 - what keeps an event loop busy
            await asyncio.sleep(0)

    busy = asyncio.create_task(work())
    closed = await closed_in_turn(500, Limits(spread_seconds=1), asyncio.Event())
    busy.cancel()
    assert all(seconds >= number / 500 - 0.01 for number, seconds in closed)
    assert closed[-1][1] < 5  # one in each turn of the loop would take 10 s


async def test_without_time_to_spread_all_sockets_close_at_once() -> None:
    hurried = asyncio.Event()
    assert await closed_in_turn(0, Limits(), hurried) == []
    asyncio.get_running_loop().call_later(0.1, hurried.set)
    closed = await closed_in_turn(100, Limits(closes_per_second=1, spread_seconds=60), hurried)
    assert closed[-1][1] < 30
