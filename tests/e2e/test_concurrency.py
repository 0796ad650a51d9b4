"""Concurrent work on two processes: no message is stored twice, numbered wrongly or missed."""

import asyncio
import json
import random
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from tests.e2e.chat_socket import connected
from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Person
from tests.e2e.fault_cluster import FaultCluster
from tests.e2e.load import rows, seeded, tell
from tests.e2e.rest import Rest
from tests.e2e.server import WebServer

SETTINGS = {"CHAT_RATE_LIMIT": "0", "CHAT_MAX_SOCKETS_PER_USER": "200"}
HELD_SECONDS = 1.0  # some tries of each process
SECONDS = 60.0  # after which a test has hung

SAME = 50
NUMBERED = 2000
SENDERS = 4  # sockets of each process that send
ROUNDS = 1000
AT_ONCE = 8  # rounds
TALKERS = 2  # at each process


@pytest.mark.slow
async def test_fifty_sends_with_one_client_id_are_one_message(fault_cluster: FaultCluster) -> None:
    (pair,) = fault_cluster.cluster.make_pairs()
    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        sockets, rests = [], []
        for number in range(SAME // 2):
            server = fault_cluster.web[number % 2]
            sockets.append(await stack.enter_async_context(connected(pair.student, server)))
            rests.append(await stack.enter_async_context(Rest(pair.student, server)))
        histories = []
        for client_id in ("the same", "the same while the conversation is locked"):
            async with asyncio.TaskGroup() as at_once:
                if "locked" in client_id:
                    at_once.create_task(asyncio.to_thread(hold_back, fault_cluster.cluster, pair.conversation_id))
                    await asyncio.sleep(0.2)
                frame = json.dumps({"message": "Is this on?", "client_id": client_id})
                sent = [at_once.create_task(socket.send(frame)) for socket in sockets]
                body = {"content": "Over REST?", "client_id": client_id}
                posts = [at_once.create_task(rest.ask("POST", rest.messages_path, body)) for rest in rests]
                answers = [at_once.create_task(socket.recv()) for socket in sockets]
            assert len(sent) + len(posts) == SAME
            told = [json.loads(answer.result()) for answer in answers]
            first = told[0].get("message")
            assert told == [{"type": "new_message", "message": first, "client_id": client_id}] * len(told)
            assert [post.result().json() for post in posts] == [first] * len(posts)
            codes = sorted(post.result().status_code for post in posts)
            assert codes[:-1] == [200] * (len(posts) - 1), "stored twice"
            assert codes[-1] == (200 if first["content"] == "Is this on?" else 201)
            histories.append(first)
            assert await rests[0].history() == histories
            for socket in sockets:  # nothing else came
                await socket.send('{"type": "ping"}')
                assert json.loads(await socket.recv()) == {"type": "pong"}


def hold_back(cluster: Cluster, conversation_id: int) -> None:
    """Lock a conversation for a while: both processes have messages for it, and each looks before the other stores."""
    with psycopg.connect(cluster.database_url) as holder:
        holder.execute("SELECT FROM chat_conversation WHERE id = %s FOR UPDATE", [conversation_id])
        time.sleep(HELD_SECONDS)  # nobody says that they try


async def test_two_thousand_sends_at_once_are_numbered_and_heard_in_order(fault_cluster: FaultCluster) -> None:
    (pair,) = fault_cluster.cluster.make_pairs()
    each = NUMBERED // (SENDERS * len(fault_cluster.web))
    received: dict[str, list[int]] = {}
    told: dict[str, list[str]] = {}  # each sender's own client_ids, as they were acknowledged
    sockets: dict[str, Any] = {}

    async def read(name: str) -> None:
        received[name], told[name] = [], []
        while len(received[name]) < NUMBERED:
            frame = json.loads(await sockets[name].recv())
            assert frame.get("type") == "new_message", frame
            received[name].append(frame["message"]["id"])
            told[name] += [key for key in [frame.get("client_id", "")] if key.startswith(f"{name}/")]

    async def send(name: str) -> None:
        for number in range(each):
            await sockets[name].send(json.dumps({"message": f"{number}", "client_id": f"{name}/{number}"}))

    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        for person, (server, other) in ((pair.student, fault_cluster.web), (pair.teacher, fault_cluster.web[::-1])):
            for number in range(SENDERS):
                name = f"{person.username}.{number}"
                sockets[name] = await stack.enter_async_context(connected(person, server))
            sockets[f"{person.username} listens"] = await stack.enter_async_context(connected(person, other))
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(hold_back, fault_cluster.cluster, pair.conversation_id))
            await asyncio.sleep(0.2)
            for name in sockets:
                tasks.create_task(read(name))
                if "listens" not in name:
                    tasks.create_task(send(name))
        tell(f"{NUMBERED} sends to {len(sockets)} sockets: {time.monotonic() - begin:.1f} s")
    stored = rows(fault_cluster.cluster, pair.conversation_id)
    assert [row["seq"] for row in stored] == list(range(1, NUMBERED + 1))
    for name, ids in received.items():
        assert ids == [row["id"] for row in stored], name
        assert told[name] == ([] if "listens" in name else [f"{name}/{number}" for number in range(each)])
    refused = "chat_message_seq" in (fault_cluster.postgresql.directory / "log").read_text()
    assert not refused, "a number was given out twice: the constraint had to stand in for the lock"


async def test_posts_at_once_leave_the_writer_a_connection(fault_cluster: FaultCluster) -> None:
    """The first requests of a new process are more posts than its pool has connections."""
    (pair,) = fault_cluster.cluster.make_pairs()
    server = await asyncio.to_thread(fault_cluster.cluster.start, DATABASE_POOL_SIZE="8", **SETTINGS)
    async with asyncio.timeout(SECONDS), Rest(pair.student, server) as rest, asyncio.TaskGroup() as at_once:
        bodies = [{"content": f"post {number}"} for number in range(SAME)]
        posts = [at_once.create_task(rest.ask("POST", rest.messages_path, body)) for body in bodies]
    assert [post.result().status_code for post in posts] == [201] * SAME
    server.terminate()


@dataclass
class Talk:
    """What the other side says, when each message was begun and when it was acknowledged, by its text."""

    begun: dict[str, float] = field(default_factory=dict)
    acknowledged: dict[str, float] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)

    async def go_on(self, client: Client, rng: random.Random) -> None:
        while True:
            text = f"{client.name} {len(self.begun)}"
            self.begun[text] = time.monotonic()
            self.ids[text] = await client.say(text)
            self.acknowledged[text] = time.monotonic()
            await asyncio.sleep(rng.uniform(0, 0.01))


@dataclass
class Visit:
    """One connection and what it showed."""

    after: int | None
    opened: float
    established: float = 0
    messages: list[dict[str, Any]] = field(default_factory=list)
    resumed: dict[str, Any] | None = None


async def visit(person: Person, server: WebServer, talk: Talk, *, after: int | None, query: str, stay: int) -> Visit:
    """Connect, and stay until some messages have come that were begun after the connection stood."""
    seen = Visit(after, time.monotonic())
    async with connected(person, server, query) as socket:
        seen.established = time.monotonic()
        while stay:
            frame = json.loads(await socket.recv())
            if frame["type"] == "resume_complete":
                seen.resumed = frame
            elif frame["type"] == "new_message":
                seen.messages.append(frame["message"])
                stay -= talk.begun[frame["message"]["content"]] > seen.established
    return seen


@pytest.mark.slow
async def test_connecting_while_the_other_side_sends_never_misses_nor_doubles(fault_cluster: FaultCluster) -> None:
    rng = seeded()
    (pair,) = fault_cluster.cluster.make_pairs()
    talk = Talk()
    visits: list[Visit] = []

    async def visits_of_one() -> None:
        while len(visits) < ROUNDS:
            after = rng.choice(talkers[0].order[-30:]) if rng.random() < 0.5 else None
            query = [f"after={after}"] * (after is not None) + ["mark_read=false"] * (rng.random() < 0.5)
            address = "?" * bool(query) + "&".join(query)
            server, stay = rng.choice(fault_cluster.web), rng.randint(1, 3)
            visits.append(await visit(pair.student, server, talk, after=after, query=address, stay=stay))

    async with AsyncExitStack() as stack, asyncio.timeout(SECONDS):
        talkers = [
            await stack.enter_async_context(Client(pair.teacher, [server], name=f"teacher {number}"))
            for number, server in enumerate(fault_cluster.web)
        ]
        for client in talkers:
            await client.say(client.name)
        talk.begun = dict.fromkeys([client.name for client in talkers], 0.0)
        talking = [asyncio.create_task(talk.go_on(client, rng)) for client in talkers for _ in range(TALKERS)]
        begin = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(visits_of_one())
        tell(f"{len(visits)} visits, {len(talk.ids)} messages, {time.monotonic() - begin:.1f} s")
        for task in talking:
            task.cancel()
        history = await talkers[0].rest(fault_cluster.web[0]).history()
    assert not [fault for client in talkers for fault in client.faults]
    place = {message["id"]: index for index, message in enumerate(history)}
    for seen in visits:
        check_visit(seen, talk, place)


def check_visit(seen: Visit, talk: Talk, place: dict[int, int]) -> None:
    places = [place[message["id"]] for message in seen.messages]
    assert places == list(range(places[0], places[0] + len(places))), f"a gap or a double: {seen}"
    if seen.after is not None:
        assert seen.resumed, seen
        assert seen.resumed["recovered"], seen
        assert places[0] == place[seen.after] + 1, f"not from where it was left: {seen}"
    else:
        assert not seen.resumed
        first = min(talk.ids.get(text, 10**9) for text, begun in talk.begun.items() if begun > seen.established)
        assert seen.messages[0]["id"] <= first, f"begun after the connection stood, but not shown: {seen}"
        old = [m["id"] for m in seen.messages if talk.acknowledged.get(m["content"], seen.opened) < seen.opened]
        assert not old, f"acknowledged before the connection was opened: {old}, {seen}"


COMMIT_TAKES = """
CREATE FUNCTION commit_takes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM pg_sleep(0.2);
    IF NEW.content LIKE '%never%' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'serialization_failure'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commit_takes AFTER INSERT ON chat_message
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION commit_takes();
"""


async def test_nobody_is_told_before_the_commit(fault_cluster: FaultCluster) -> None:
    """The commit takes a while, or fails: nobody, in either process, receives the message before it."""
    (pair,) = fault_cluster.cluster.make_pairs()
    sent = ["one", "never", "two", "never ever", "three"]
    with psycopg.connect(fault_cluster.cluster.database_url, autocommit=True) as database:
        database.execute(COMMIT_TAKES)

        def is_stored(pk: int) -> bool:
            return bool(database.execute("SELECT 1 FROM chat_message WHERE id = %s", [pk]).fetchall())

        async def listen(person: Person, server: WebServer) -> list[str]:
            contents: list[str] = []
            async with connected(person, server) as socket:
                listening.release()
                while "three" not in contents:
                    frame = json.loads(await socket.recv())
                    if frame.get("type") == "new_message":
                        assert is_stored(frame["message"]["id"]), f"told before it was stored: {frame}"
                        contents.append(frame["message"]["content"])
            return contents

        async def say() -> None:
            for _ in listeners:
                await listening.acquire()
            async with (
                Rest(pair.teacher, fault_cluster.web[0]) as rest,
                connected(pair.student, fault_cluster.web[1]) as socket,
            ):
                for content in sent:
                    expected = (503, "error") if "never" in content else (201, "message")
                    answer = await rest.ask("POST", rest.messages_path, {"content": f"{content} over REST"})
                    assert answer.status_code == expected[0]
                    if answer.status_code == 201:
                        assert is_stored(answer.json()["id"])
                    await socket.send(json.dumps({"message": content, "client_id": content}))
                    frame = json.loads(await socket.recv())
                    while "error" not in frame and frame.get("client_id") != content:
                        frame = json.loads(await socket.recv())
                    assert expected[1] in frame, frame

        listening = asyncio.Semaphore(0)
        try:
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                listeners = [
                    tasks.create_task(listen(person, server))
                    for person in (pair.student, pair.teacher)
                    for server in fault_cluster.web
                ]
                tasks.create_task(say())
        finally:
            database.execute("DROP FUNCTION commit_takes CASCADE")
    expected = [text for content in sent if "never" not in content for text in (f"{content} over REST", content)]
    assert [task.result() for task in listeners] == [expected] * len(listeners)
