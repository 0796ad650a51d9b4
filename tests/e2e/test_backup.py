"""The commands for backup and restore in docs/operations.md, as written: dump during a chat, lose all, restore."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.compose import ROOT, SECRETS, load_compose
from tests.e2e.chat_socket import connected
from tests.e2e.cluster import Cluster, Pair, run
from tests.e2e.load import rows, start_both
from tests.e2e.postgres_container import IN_POSTGRES, address, make_database, run_in_postgres, run_scripts
from tests.e2e.rest import Rest

SERVICES = load_compose(SECRETS)["services"]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
SECTION = re.search(r"^## Backup and restore\n(.*?)^##", OPERATIONS, re.DOTALL | re.MULTILINE)
assert SECTION
DUMP, RESTORE = (block.splitlines() for block in re.findall(r"^```sh\n(.*?)^```", SECTION[1], re.DOTALL | re.MULTILINE))
TIMEOUT_SECONDS = 60
PAUSE_SECONDS = 0.02  # between two messages


class Stack:
    """A PostgreSQL as the image `postgres` makes it of the compose file, and a server of either kind."""

    def __init__(self, postgresql: servers.PostgreSQL, redis: servers.Redis, folder: Path) -> None:
        self.postgresql, self.folder = postgresql, folder
        self.make_database()
        run_scripts(postgresql, folder)
        self.cluster = Cluster(address(postgresql, "qader_web"), redis)
        self.migrate()
        self.web = start_both(self.cluster, CHAT_RATE_LIMIT="0")

    def make_database(self) -> None:
        """The empty one that there is on a new volume; the one before, if any, is lost."""
        make_database(self.postgresql)

    def migrate(self) -> None:
        python, *arguments = SERVICES["migrate"]["command"]
        assert python == "python"
        run(self.cluster.environment | {"DATABASE_URL": address(self.postgresql, "qader_owner")}, *arguments)

    def type(self, lines: list[str]) -> None:
        """Do what Docker would do at these lines."""
        ours: dict[str, Callable[[], object]] = {
            "docker compose stop web-1 web-2": lambda: [server.terminate() for server in self.web],
            "docker compose run --rm migrate": self.migrate,
            "docker compose up --detach": lambda: [server.start() for server in self.web],
        }
        for line in lines:
            if line in ours:
                ours[line]()
            else:
                assert line.startswith(IN_POSTGRES), line
                run_in_postgres(self.postgresql, line.removeprefix(IN_POSTGRES), self.folder)


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with servers.postgresql() as postgresql, servers.redis() as redis:
        made = Stack(postgresql, redis, tmp_path)
        yield made
        made.cluster.close()


@asynccontextmanager
async def talking(stack: Stack, pair: Pair) -> AsyncIterator[list[dict[str, Any]]]:
    """The student writes without pause meanwhile; yields the messages that were acknowledged so far."""
    acknowledged: list[dict[str, Any]] = []

    async def talk() -> None:
        async with connected(pair.student, stack.web[0]) as socket:
            while True:
                await socket.send_json({"message": f"number {len(acknowledged)}"})
                acknowledged.append((await socket.receive_json())["message"])
                await asyncio.sleep(PAUSE_SECONDS)

    task = asyncio.create_task(talk())
    try:
        await said(acknowledged, 20, task)
        yield acknowledged
        await said(acknowledged, len(acknowledged) + 20, task)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def said(acknowledged: list[dict[str, Any]], count: int, task: asyncio.Task[None]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while len(acknowledged) < count:
            await asyncio.wait([task], timeout=0.05)
            assert not task.done(), task.exception()


@pytest.mark.slow
async def test_a_chat_goes_on_from_its_backup(stack: Stack) -> None:
    (pair,) = await asyncio.to_thread(stack.cluster.make_pairs)
    async with talking(stack, pair) as acknowledged:
        before = len(acknowledged)
        await asyncio.to_thread(stack.type, DUMP)
        after = len(acknowledged)
    lost = acknowledged[-1]["id"]

    await asyncio.to_thread(stack.make_database)
    await asyncio.to_thread(stack.type, RESTORE)

    web = stack.web[1]
    async with Rest(pair.student, web) as rest:
        history = await rest.history()
    kept = len(history)
    assert before <= kept <= after
    assert after < len(acknowledged), "nothing was lost"
    assert history == acknowledged[:kept]

    # A client that had seen a lost message is told that it cannot resume, and can continue.
    async with (
        connected(pair.student, web, f"?after={lost}") as student,
        connected(pair.teacher, stack.web[0]) as teacher,
    ):
        resumed = {"type": "resume_complete", "recovered": False, "count": 0, "read_up_to": None}
        assert await student.receive_json() == resumed
        await student.send_json({"message": "it goes on"})
        received = [await one.receive_json(40) for one in (student, teacher)]
        assert [frame["message"]["content"] for frame in received if frame["type"] == "new_message"][-1] == "it goes on"
    async with connected(pair.student, web, f"?after={history[-2]['id']}&mark_read=false") as student:
        frames = [await student.receive_json() for _ in range(3)]
        contents = [frame["message"]["content"] for frame in frames[:2]]
        assert contents == [history[-1]["content"], "it goes on"]
        assert (frames[2]["type"], frames[2]["recovered"], frames[2]["count"]) == ("resume_complete", True, 2)
    stored = rows(stack.cluster, pair.conversation_id)
    assert [row["seq"] for row in stored] == list(range(1, kept + 2))
    assert stored[-1]["id"] > lost, "an id of what was lost names something new"
