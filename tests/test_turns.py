"""Requests of one address take turns; the others wait for none of them."""

import asyncio
from collections.abc import Callable

import pytest

from qader.http import turns
from qader.http.turns import AT_ONCE, Turns

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


class Requests:
    """Requests that run until they are told to end."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.running: list[str] = []
        self.end = asyncio.Event()
        self.began = asyncio.Condition()

    def start(self, address: str, count: int = 1) -> "list[asyncio.Task[None]]":
        return [asyncio.create_task(self._run(address)) for _ in range(count)]

    async def _run(self, address: str) -> None:
        async with self.turns.take(address):
            self.running.append(address)
            async with self.began:
                self.began.notify_all()
            await self.end.wait()

    async def run(self, count: int) -> None:
        """Wait until so many have begun."""
        async with asyncio.timeout(5), self.began:
            await self.began.wait_for(lambda: len(self.running) >= count)


@pytest.fixture
def take_long(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set after how many seconds a request takes long."""
    return lambda seconds: monkeypatch.setattr(turns, "TURN_SECONDS", seconds)


async def test_only_a_few_requests_of_an_address_run_at_once(take_long: Callable[[float], None]) -> None:
    take_long(1000)
    requests = Requests()
    here = requests.start(HERE, AT_ONCE + 3)
    await requests.run(AT_ONCE)
    elsewhere = requests.start(ELSEWHERE)
    await requests.run(AT_ONCE + 1)
    assert requests.running == [HERE] * AT_ONCE + [ELSEWHERE]
    requests.end.set()
    await asyncio.gather(*here, *elsewhere)
    assert requests.running == [HERE] * AT_ONCE + [ELSEWHERE] + [HERE] * 3


async def test_a_request_that_takes_long_keeps_nobody_waiting(take_long: Callable[[float], None]) -> None:
    take_long(0.01)
    requests = Requests()
    here = requests.start(HERE, 3 * AT_ONCE)
    await requests.run(3 * AT_ONCE)
    requests.end.set()
    await asyncio.gather(*here)
    take_long(1000)  # each has passed its turn on once, not twice
    requests.end.clear()
    again = requests.start(HERE, AT_ONCE + 1)
    await requests.run(4 * AT_ONCE)
    assert len(requests.running) == 4 * AT_ONCE
    requests.end.set()
    await asyncio.gather(*again)


async def test_who_leaves_while_waiting_takes_no_turn(take_long: Callable[[float], None]) -> None:
    take_long(1000)
    requests = Requests()
    here = requests.start(HERE, AT_ONCE)
    await requests.run(AT_ONCE)
    [left] = requests.start(HERE)
    last = requests.start(HERE)
    await asyncio.sleep(0)
    left.cancel()
    requests.end.set()
    await asyncio.gather(*here, *last)
    assert left.cancelled()
    assert requests.running == [HERE] * (AT_ONCE + 1)


@pytest.mark.parametrize(("seconds", "passed_on"), [(1000, 0), (0.01, 1)])
async def test_who_leaves_in_their_turn_keeps_it_for_the_rest_of_it(
    take_long: Callable[[float], None], seconds: float, passed_on: int
) -> None:
    """Else one who connects, asks and leaves would have any number of threads work."""
    take_long(seconds)
    requests = Requests()
    here = requests.start(HERE, AT_ONCE)
    await requests.run(AT_ONCE)
    for request in here:
        request.cancel()
    await asyncio.wait(here)
    [last] = requests.start(HERE)
    if passed_on:
        await requests.run(AT_ONCE + 1)
    else:
        for _ in range(10):
            await asyncio.sleep(0)
    assert requests.running == [HERE] * (AT_ONCE + passed_on)
    requests.end.set()
    last.cancel()
    await asyncio.wait([last])


async def test_a_wait_for_a_turn_ends(take_long: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    take_long(1000)
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.01)
    requests = Requests()
    here = requests.start(HERE, AT_ONCE)
    await requests.run(AT_ONCE)
    with pytest.raises(TimeoutError):
        async with requests.turns.take(HERE):
            raise AssertionError("it was not its turn")
    requests.end.set()
    await asyncio.gather(*here)
