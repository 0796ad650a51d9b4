"""The first state of a client and every frame since add up to the same as a fresh fetch.

Four clients watch: each side in the foreground on one process and in the background on the other. Healing stays at
30 seconds and nothing here waits that long, so the events themselves must be complete.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.cluster import Cluster, Pair, Person
from tests.e2e.load import differences, seeded, shown, start_both, tell
from tests.e2e.rest import Rest
from tests.e2e.server import WebServer

SETTINGS = {"CHAT_RATE_LIMIT": "0"}
EQUAL_SECONDS = 5.0
STEPS = 60  # one action each, checked afterwards
BURSTS = 15  # several actions at once
CLOSED_SECONDS = 2.0  # what the contract gives a change of mentors
BUSY_SECONDS = 2.0


@dataclass(eq=False)
class View:
    """One client, the conversation as it was shown at first, and what has become of that."""

    client: Client
    snapshot: dict[str, Any]

    @property
    def conversation(self) -> dict[str, Any]:
        """The conversation object: the snapshot with all frames since applied."""
        messages = shown(self.client)
        unread = [message for message in messages if not message["is_own_message"] and not message["is_read"]]
        is_active = self.snapshot["is_active"] and self.client.connection.close_code != 4403
        told = {
            "last_message": messages[-1] if messages else None,
            "updated_at": messages[-1]["timestamp"] if messages else self.snapshot["updated_at"],
            "unread_message_count_for_user": len(unread),
            "is_active": is_active,
            "waiting_since": waiting_since(messages) if is_active else None,
        }
        return {**self.snapshot, **told}


def waiting_since(messages: list[dict[str, Any]]) -> str | None:
    """The time of the student's first message after the mentor's last one."""
    is_students = lambda message: message["sender_profile"]["role"] == "STUDENT"  # noqa: E731
    unanswered = list(takewhile(is_students, reversed(messages)))
    return unanswered[-1]["timestamp"] if unanswered else None


@dataclass
class Scene:
    """A pair and those who look on."""

    pair: Pair
    web: list[WebServer]
    rng: random.Random
    views: list[View] = field(default_factory=list)
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def look(self, person: Person, server: WebServer, *, mark_read: bool) -> View:
        """One more client."""
        number = len(self.views)
        client = Client(person, [server], name=f"{person.username}@{number}", mark_read=mark_read)
        await self.stack.enter_async_context(client)
        assert await client.until(lambda: client.ready, EQUAL_SECONDS), client.name
        view = View(client, await fresh_conversation(client.rest(server), self.pair.conversation_id))
        self.views.append(view)
        return view

    async def converge(self, what: str) -> None:
        """Wait until every view equals what its person would fetch now."""
        for view in self.views:
            rest = view.client.rest(view.client.servers[0])
            for last in (False, True):
                history = await rest.history()
                conversation = await fresh_conversation(rest, self.pair.conversation_id)
                same = lambda h=history, c=conversation, v=view: shown(v.client) == h and v.conversation == c  # noqa: E731
                if await view.client.until(same, 0.2 if not last else EQUAL_SECONDS):
                    break
            assert not differences(shown(view.client), history), f"{view.client.name} after {what}"
            assert view.conversation == conversation, f"{view.client.name} after {what}"
            assert not view.client.faults, what


async def fresh_conversation(rest: Rest, conversation_id: int) -> dict[str, Any]:
    """The conversation object as this person would fetch it."""
    if rest.person.path == "my-conversation/":
        conversation = await rest.get("chat/my-conversation/")
    else:
        found = (await rest.get("chat/teacher/conversations/"))["results"]
        (conversation,) = [row for row in found if row["id"] == conversation_id]
    assert conversation["id"] == conversation_id
    return dict(conversation)


@asynccontextmanager
async def opened(cluster: Cluster, rng: random.Random, pair: Pair, web: list[WebServer]) -> AsyncIterator[Scene]:
    scene = Scene(pair, web, rng)
    async with scene.stack:
        for person, (own, other) in ((pair.student, web), (pair.teacher, web[::-1])):
            await scene.look(person, own, mark_read=True)
            await scene.look(person, other, mark_read=False)
        yield scene


# What somebody does: each takes one of the views, whose person does it.


async def sends(scene: Scene, view: View) -> None:
    await view.client.say(f"{view.client.name} says {scene.rng.random()}")


async def posts(scene: Scene, view: View) -> None:
    await view.client.say(f"{view.client.name} posts {scene.rng.random()}", over_rest=True)


async def marks_all(scene: Scene, view: View) -> None:
    await view.client.mark_read()


async def marks_some(scene: Scene, view: View) -> None:
    if view.client.order:
        await view.client.mark_read(scene.rng.choice(view.client.order[-5:]))


async def marks_over_rest(scene: Scene, view: View) -> None:
    rest = view.client.rest(view.client.servers[0])
    (await rest.ask("POST", f"chat/conversations/{scene.pair.conversation_id}/mark-read/", {})).raise_for_status()


async def reads_over_rest(scene: Scene, view: View) -> None:
    rest = view.client.rest(view.client.servers[0])
    await rest.get(f"{rest.messages_path}?limit=2")


async def connects_once_more(scene: Scene, view: View) -> None:
    async with view.client.person.socket(scene.rng.choice(scene.web)) as socket:
        await socket.recv()


async def reconnects(scene: Scene, view: View) -> None:
    await view.client.drop()


Action = Callable[[Scene, View], Awaitable[None]]
TOLD: list[Action] = [sends, posts, marks_all, marks_some, marks_over_rest, reads_over_rest, connects_once_more]
ACTIONS: list[Action] = [*TOLD, sends, posts, sends, reconnects]


@pytest.mark.slow
async def test_old_state_and_events_equal_a_fresh_fetch_after_every_action(cluster: Cluster) -> None:
    rng = seeded()
    web = start_both(cluster, **SETTINGS)
    (pair,) = cluster.make_pairs()
    async with opened(cluster, rng, pair, web) as scene:
        await scene.converge("opening")
        steps = [*ACTIONS, *rng.choices(ACTIONS, k=STEPS - len(ACTIONS))]
        rng.shuffle(steps)
        for action in steps:
            view = rng.choice(scene.views)
            await action(scene, view)
            await scene.converge(f"{view.client.name} {action.__name__}")
        for _ in range(BURSTS):
            doing = [(rng.choice(TOLD), rng.choice(scene.views)) for _ in range(rng.randint(2, 12))]
            await asyncio.gather(*[action(scene, view) for action, view in doing])
            await scene.converge(", ".join(f"{view.client.name} {action.__name__}" for action, view in doing))
        tell(f"{STEPS} steps, {BURSTS} bursts, {len(scene.views[0].client.order)} messages")


async def test_old_state_and_events_equal_a_fresh_fetch_after_a_change_of_mentors(cluster: Cluster) -> None:
    rng = seeded()
    web = start_both(cluster, **SETTINGS)
    pair, other = cluster.make_pairs(2)
    async with opened(cluster, rng, pair, web) as scene:
        for view in scene.views:
            await sends(scene, view)
        await scene.converge("sending")

        await asyncio.to_thread(assign, cluster, pair.student, other.teacher)
        for view in scene.views:
            closed = lambda view=view: view.client.connection.close_code  # noqa: E731
            assert await view.client.until(closed, CLOSED_SECONDS + BUSY_SECONDS), view.client.name
            assert view.client.connection.close_code == 4403
        scene.views = [view for view in scene.views if view.client.person is pair.teacher]
        await scene.converge("the change")  # the former mentor: read-only from now on

        scene.views = []  # they are closed and receive nothing more
        former = await scene.look(pair.teacher, web[0], mark_read=True)
        await scene.converge("coming back to read")
        await former.client.mark_read()
        await scene.converge("reading on")

        # The student's next look finds the new conversation, and the new mentor is shown it.
        async with Rest(pair.student, web[0]) as rest:
            found = await rest.get("chat/my-conversation/")
        assert found["id"] != pair.conversation_id
        assert found["teacher_profile"]["username"] == other.teacher.username
        mentor = Person(**{**vars(other.teacher), "path": f"conversations/{found['id']}/"})
        new = Pair(pair.student, mentor, found["id"])
        async with opened(cluster, rng, new, web) as next_scene:
            for view in next_scene.views:
                await sends(next_scene, view)
                await next_scene.converge("sending in the new conversation")
            await marks_all(next_scene, next_scene.views[0])
            await next_scene.converge("reading in the new conversation")
            await scene.converge("what others say elsewhere")

            await asyncio.to_thread(assign, cluster, pair.student, pair.teacher)
            for view in next_scene.views:
                closed = lambda view=view: view.client.connection.close_code  # noqa: E731
                assert await view.client.until(closed, CLOSED_SECONDS + BUSY_SECONDS), view.client.name
            next_scene.views = [view for view in next_scene.views if view.client.person is mentor]
            await next_scene.converge("the change back")
    async with opened(cluster, rng, pair, web) as scene:
        for view in scene.views:
            await sends(scene, view)
            await scene.converge("going on in the old conversation")


def assign(cluster: Cluster, student: Person, mentor: Person) -> None:
    """Give the student another mentor, from a process that is no server."""
    code = (
        "from accounts.models import UserProfile;"
        f"student = UserProfile.objects.get(user_id={student.user_id});"
        f"student.assigned_mentor = UserProfile.objects.get(user_id={mentor.user_id});"
        "student.save()"
    )
    cluster.run("manage.py", "shell", "-c", code)
