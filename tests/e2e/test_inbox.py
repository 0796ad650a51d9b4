"""Inboxes over two processes: updates, healing after a Redis outage, killed processes.

The fetched list with all updates of an inbox applied must equal a fresh list.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.e2e.chat_socket import SETTLED_SECONDS, ChatSocket, connected
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Pair, Person
from tests.e2e.load import seeded, start_both, tell
from tests.e2e.server import WebServer
from tests.websocket_client import HandshakeRefusedError, SocketClosedError

HEAL_SECONDS = 2
SETTINGS = {"CHAT_HEAL_SECONDS": str(HEAL_SECONDS), "CHAT_RATE_LIMIT": "0"}
SOON = 10.0
MESSAGES = 60  # of each student


@asynccontextmanager
async def inbox(person: Person, server: WebServer, unread: int = 0) -> AsyncIterator[ChatSocket]:
    """An inbox, its first frame received."""
    async with person.socket(server, path="inbox/") as socket:
        assert await socket.receive_json() == {"type": "inbox_established", "unread_total": unread}
        yield socket


async def listed(person: Person, server: WebServer) -> dict[int, Any]:
    """The mentor's list by id."""
    async with person.http(server) as http:
        answer = (await http.get("chat/teacher/conversations/?page_size=200")).json()
        return {row["id"]: row for row in answer["results"]}


async def receive_until(socket: ChatSocket, **expected: Any) -> dict[str, Any]:
    """The next update that holds this."""
    while True:
        frame = await socket.receive_json()
        assert frame["type"] == "conversation_update"
        conversation: dict[str, Any] = frame["conversation"]
        if expected.items() <= conversation.items():
            return conversation


def with_one_mentor(cluster: Cluster, pairs: int) -> tuple[Person, list[Pair]]:
    """A mentor and students of theirs; the last one has no conversation yet."""
    made = cluster.make_pairs(pairs)
    mentor = made[0].teacher
    students = [pair.student.user_id for pair in made]
    code = f"t = UserProfile.objects.get(user={mentor.user_id})\n"
    code += f"UserProfile.objects.filter(user__in={students}).update(assigned_mentor=t)\n"
    code += f"for s in UserProfile.objects.filter(user__in={students[1:-1]}):\n"
    code += "    Conversation.get_or_create_conversation(student_profile=s, teacher_profile=t)\n"
    cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)
    return mentor, made


async def test_updates_and_new_conversations_arrive_from_another_process(cluster: Cluster) -> None:
    here, there = await asyncio.to_thread(start_both, cluster, CHAT_HEAL_SECONDS="1000")
    mentor, pairs = await asyncio.to_thread(with_one_mentor, cluster, 2)
    first, second = (pair.student for pair in pairs)
    async with inbox(mentor, here) as socket, connected(first, there) as student:
        await asyncio.sleep(SETTLED_SECONDS)
        await student.send_json({"message": "hello"})
        own = (await student.receive_json())["message"]
        told = await receive_until(socket, id=pairs[0].conversation_id, unread_message_count_for_user=1)
        assert told["last_message"] == own | {"is_own_message": False}
        async with connected(second, there) as newcomer:
            told = await receive_until(socket, last_message=None, is_active=True)
            await asyncio.sleep(SETTLED_SECONDS)
            await newcomer.send_json({"message": "me, too"})
            await receive_until(socket, id=told["id"], unread_message_count_for_user=1)
        async with mentor.http(there) as http:
            answer = await http.post(f"chat/conversations/{told['id']}/mark-read/")
            assert answer.json() == {"detail": "1 messages marked as read."}
        told = await receive_until(socket, id=told["id"], unread_message_count_for_user=0)
        assert told == (await listed(mentor, there))[told["id"]]
        assert await socket.receive_until_pong() == []


async def test_a_session_ended_elsewhere_closes_its_inbox(cluster: Cluster) -> None:
    here, there = await asyncio.to_thread(start_both, cluster, **SETTINGS)
    left, moved, expired = await asyncio.to_thread(cluster.make_pairs, 3)
    async with (
        inbox(left.student, here) as one,
        inbox(left.teacher, here) as two,
        inbox(moved.teacher, here) as three,
        inbox(expired.teacher, there) as four,
    ):
        async with left.student.http(there) as http:
            assert (await http.post("auth/logout/")).status_code == 204
        assert await one.wait_closed(2) == 4401
        assert await two.receive_until_pong() == []
        code = f"UserProfile.objects.filter(user={moved.teacher.user_id}).update(role='STUDENT')\n"
        code += f"Session.objects.filter(pk={expired.teacher.session_key!r}).update(expire_date='2020-01-01T00:00Z')"
        await asyncio.to_thread(cluster.run, "manage.py", "shell", "--verbosity", "0", "-c", code)
        assert await three.wait_closed(HEAL_SECONDS + 2) == 4403
        assert await four.wait_closed(HEAL_SECONDS + 2) == 4401


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "freeze", "cut_subscribers"])
async def test_changes_during_a_redis_outage_are_sent_after_it(cluster: Cluster, how: str) -> None:
    assert cluster.redis
    here, there = await asyncio.to_thread(start_both, cluster, **SETTINGS)
    mentor, pairs = await asyncio.to_thread(with_one_mentor, cluster, 3)
    first, second, third = (pair.student for pair in pairs)
    async with inbox(mentor, here) as socket, connected(first, there) as student, connected(second, here) as neighbour:
        await asyncio.sleep(SETTLED_SECONDS)
        await asyncio.to_thread(getattr(cluster.redis, how))
        await student.send_json({"message": "while nobody tells"})
        assert (await student.receive_json())["type"] == "new_message"
        await neighbour.send_json({"message": "in the same process"})
        assert (await neighbour.receive_json())["type"] == "new_message"
        async with third.socket(there, open_seconds=SOON) as newcomer:
            assert (await newcomer.receive_json())["type"] == "connection_established"
        async with inbox(mentor, there, 2) as late:
            assert await late.receive_until_pong() == []
        if how == "kill":
            await asyncio.to_thread(cluster.redis.start)
        cluster.redis.thaw()
        state: dict[int, Any] = {}
        async with asyncio.timeout(SOON + HEAL_SECONDS):
            while len(state) < 3 or state != await listed(mentor, there):
                conversation = (await socket.receive_json())["conversation"]
                state[conversation["id"]] = conversation


class Watcher:
    """A mentor's client: the list as fetched when the inbox was established, and what the inbox said since."""

    def __init__(self, person: Person, servers: list[WebServer]) -> None:
        self.person, self.servers = person, servers
        self.state: dict[int, Any] = {}
        self.connections = 0
        self.faults: list[str] = []
        self._changed = asyncio.Event()

    @property
    def server(self) -> WebServer:
        """Where it is, or tries to be."""
        return self.servers[self.connections % len(self.servers)]

    async def until_unread(self, count: int) -> None:
        """Wait until this many messages are shown as unread."""
        while sum(row["unread_message_count_for_user"] for row in self.state.values()) != count:
            self._changed.clear()
            await self._changed.wait()

    async def run(self) -> None:
        """Stay connected as well as one can, to one server after the other."""
        while True:
            with suppress(OSError, TimeoutError, HandshakeRefusedError, SocketClosedError, httpx.HTTPError):
                await self._stay_connected(self.server)
            self.connections += 1
            await asyncio.sleep(0.1)

    async def _stay_connected(self, server: WebServer) -> None:
        async with self.person.socket(server, path="inbox/") as socket:
            assert (await socket.receive_json())["type"] == "inbox_established"
            # Frames that come meanwhile wait in the socket; they are as new as what is fetched, or newer.
            self.state = await listed(self.person, server)
            self._changed.set()
            newest: dict[int, int] = {}
            async for text in socket:
                conversation = json.loads(text)["conversation"]
                pk, last = conversation["id"], (conversation["last_message"] or {}).get("id", 0)
                if last < newest.get(pk, 0):
                    self.faults.append(f"{last} after {newest[pk]} in {pk}")
                newest[pk] = last
                self.state[pk] = conversation
                self._changed.set()


@pytest.mark.slow
async def test_old_list_and_updates_equal_a_fresh_list_while_processes_are_killed(cluster: Cluster) -> None:
    rng = seeded()
    servers = await asyncio.to_thread(start_both, cluster, **SETTINGS)
    mentor, pairs = await asyncio.to_thread(with_one_mentor, cluster, 6)
    watchers = [Watcher(mentor, servers), Watcher(mentor, servers[::-1])]

    async def talk(client: Client) -> None:
        for number in range(MESSAGES):
            await client.say(f"{number}")
            await asyncio.sleep(rng.uniform(0, 0.15))

    async with AsyncExitStack() as stack:
        for watcher in watchers:
            stack.callback(asyncio.create_task(watcher.run()).cancel)
        students = [Client(pair.student, servers, name=f"student {number}") for number, pair in enumerate(pairs)]
        for client in students:
            await stack.enter_async_context(client)
        talking = asyncio.gather(*map(talk, students))
        for number in range(4):
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            victim = watchers[number % 2].server
            victim.kill()
            await asyncio.sleep(rng.uniform(0, 0.5))
            await asyncio.to_thread(victim.start)
        await talking
        async with asyncio.timeout(SOON + HEAL_SECONDS):
            for watcher in watchers:
                await watcher.until_unread(6 * MESSAGES)
        fresh = await listed(mentor, servers[0])
        assert [watcher.state for watcher in watchers] == [fresh, fresh]
        assert [watcher.faults for watcher in watchers] == [[], []]
        assert sum(watcher.connections for watcher in watchers) >= 4
        tell(f"{sum(watcher.connections for watcher in watchers)} lives")
