"""Presence over processes: several tabs, a killed process, a restart, a Redis outage."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chat.bus.event_bus import LAYER_SECONDS
from chat.live.heartbeats import BEAT_SECONDS
from chat.live.presence import GRACE_SECONDS
from tests import servers
from tests.e2e.chat_socket import SETTLED_SECONDS, ChatSocket, connected
from tests.e2e.cluster import Cluster, Databases, Person
from tests.e2e.load import start_both

ASKED = "?presence=1"
FORGOTTEN_SECONDS = 60.0  # by the contract, after a process was killed
NOISE_SECONDS = 3.0


def shown(person: Person, is_online: bool, last_seen: str | None = None) -> dict[str, Any]:
    return {"type": "presence", "user": person.user_id, "is_online": is_online, "last_seen": last_seen}


async def told_away(socket: ChatSocket, person: Person, seconds: float) -> datetime:
    """Receive within these seconds that the person is offline; return their `last_seen`."""
    frame = await socket.receive_json(seconds)
    assert frame == shown(person, False, frame["last_seen"])
    return datetime.fromisoformat(frame["last_seen"])


async def test_tabs_in_two_processes_count_as_one_person(cluster: Cluster) -> None:
    here, there = await asyncio.to_thread(start_both, cluster)
    (pair,) = await asyncio.to_thread(cluster.make_pairs)
    student, teacher = pair.student, pair.teacher
    async with connected(student, here, ASKED) as socket, connected(student, there) as unasked:
        assert await socket.receive_json() == shown(teacher, False)
        async with connected(teacher, there, ASKED) as one:
            assert await one.receive_json() == shown(student, True)
            assert await socket.receive_json() == shown(teacher, True)
            async with teacher.socket(here, ASKED, path="inbox/") as inbox:
                assert await inbox.receive_json() == {"type": "inbox_established", "unread_total": 0}
                assert await inbox.receive_json() == shown(student, True)
                await one.close()
                await asyncio.sleep(GRACE_SECONDS + 1)
                assert await socket.receive_until_pong() == []
        closed = datetime.now(UTC)
        last = await told_away(socket, teacher, GRACE_SECONDS + NOISE_SECONDS)
        assert abs(last - closed) < timedelta(seconds=1)
        async with connected(teacher, there):  # a page that is loaded anew
            back = await socket.receive_json()
            assert back == shown(teacher, True, back["last_seen"])
        async with connected(teacher, here):
            await asyncio.sleep(GRACE_SECONDS + 1)
            assert await socket.receive_until_pong() == []
            await unasked.send_json({"message": "hello"})
            assert (await unasked.receive_json())["type"] == "new_message"
            assert await unasked.receive_until_pong() == []


async def test_last_seen_survives_a_restart(lone_cluster: Cluster) -> None:
    server = await asyncio.to_thread(lone_cluster.start, "uvicorn")
    (pair,) = await asyncio.to_thread(lone_cluster.make_pairs)
    async with connected(pair.student, server, ASKED) as socket:
        assert await socket.receive_json() == shown(pair.teacher, False)
        async with connected(pair.teacher, server):
            assert await socket.receive_json() == shown(pair.teacher, True)
        last = await told_away(socket, pair.teacher, GRACE_SECONDS + NOISE_SECONDS)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    async with connected(pair.student, server, ASKED) as socket:
        assert await told_away(socket, pair.teacher, NOISE_SECONDS) == last


@pytest.mark.slow
async def test_users_of_a_killed_process_go_offline_within_a_minute(cluster: Cluster) -> None:
    here, there = await asyncio.to_thread(start_both, cluster)
    lost, moved = await asyncio.to_thread(cluster.make_pairs, 2)
    async with (
        connected(lost.student, here, ASKED) as watcher,
        connected(moved.student, here, ASKED) as other,
        connected(lost.teacher, there),
        connected(moved.teacher, there),
    ):
        for socket, teacher in ((watcher, lost.teacher), (other, moved.teacher)):
            while await socket.receive_json() != shown(teacher, True):
                pass
        await asyncio.sleep(SETTLED_SECONDS)
        there.kill()
        killed, begin = datetime.now(UTC), time.monotonic()
        async with connected(moved.teacher, here):
            last = await told_away(watcher, lost.teacher, FORGOTTEN_SECONDS)
            took = time.monotonic() - begin
            assert killed - timedelta(seconds=BEAT_SECONDS + NOISE_SECONDS) < last <= killed
            assert await other.receive_until_pong() == [], "who came back to another process was never away"
            await asyncio.to_thread(there.start)
            async with connected(lost.student, there, ASKED) as late:
                assert await told_away(late, lost.teacher, NOISE_SECONDS) == last
            assert took < FORGOTTEN_SECONDS


@pytest.mark.slow
async def test_presence_stays_unchanged_while_redis_is_away(databases: Databases) -> None:
    with servers.redis() as killed, servers.redis() as frozen:
        clusters = [Cluster(databases.create(), redis) for redis in (killed, frozen)]
        try:
            async with asyncio.TaskGroup() as at_once:
                at_once.create_task(redis_goes(clusters[0], killed.kill, killed.start))
                at_once.create_task(redis_goes(clusters[1], frozen.freeze, frozen.thaw))
        finally:
            for cluster in clusters:
                cluster.close()


async def redis_goes(cluster: Cluster, go: Callable[[], None], come: Callable[[], None]) -> None:
    """Let Redis go for some heartbeats and come, one that was killed with nothing in it."""
    here, there = await asyncio.to_thread(start_both, cluster, CHAT_HEAL_SECONDS="2")
    pair, late = await asyncio.to_thread(cluster.make_pairs, 2)
    async with connected(pair.student, here, ASKED) as socket, connected(pair.teacher, there) as teacher:
        while await socket.receive_json() != shown(pair.teacher, True):
            pass
        await asyncio.sleep(SETTLED_SECONDS)
        go()
        for server in (here, there):
            begin = time.monotonic()
            async with connected(late.student, server, ASKED):
                # The layer may cost a second, by itself, when it is found to be away; presence nothing.
                assert time.monotonic() - begin < LAYER_SECONDS + NOISE_SECONDS / 2
        await asyncio.sleep(BEAT_SECONDS + 2)
        assert await socket.receive_until_pong() == []
        await asyncio.to_thread(come)
        await asyncio.sleep(2 * BEAT_SECONDS + 2)
        assert await socket.receive_until_pong() == []
        await teacher.close()
        await told_away(socket, pair.teacher, GRACE_SECONDS + BEAT_SECONDS + NOISE_SECONDS)
    for server in (here, there):
        assert server.failures == []
