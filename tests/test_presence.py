"""Presence: sockets that subscribe receive the state of the other participants of active conversations."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from accounts.models import RoleChoices, User, UserProfile
from chat.live import heartbeats, presence
from chat.live.heartbeats import Heartbeats
from chat.models import Conversation, LastSeen
from chat.store.last_seen import load_last_seen, save_last_seen
from tests.conftest import Connect, Socket
from tests.conversation_sockets import open_and_silent
from tests.delivery_harness import database_away
from tests.other_process import ROUGH, OtherProcess, rough_layer
from tests.people import People, conversation_of, make_user
from tests.queries import connected_redis, counted_queries
from tests.sockets import connected, ended, established, in_thread, settled

NEVER = 1000
INBOX = "inbox/"
ASKED = "?presence=1"

several_processes = pytest.mark.skipif(not django_settings.REDIS_URL, reason="several processes need Redis")


@pytest.fixture(autouse=True)
def _quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CHAT_HEAL_SECONDS = NEVER
    monkeypatch.setattr(presence, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(presence, "GATHER_SECONDS", 0.001)


def online(user: User, seen: datetime | None = None) -> dict[str, Any]:
    return shown(user, True, seen)


def offline(user: User, seen: datetime | None = None) -> dict[str, Any]:
    return shown(user, False, seen)


def shown(user: User, is_online: bool, seen: datetime | None) -> dict[str, Any]:
    at = None if seen is None else seen.isoformat().replace("+00:00", "Z")
    return {"type": "presence", "user": user.pk, "is_online": is_online, "last_seen": at}


async def seen(user: User) -> datetime:
    """When the database says that this user was last here."""
    return (await LastSeen.objects.aget(user=user)).at


@asynccontextmanager
async def asking(connect: Connect, user: User, path: Any = None, **kwargs: Any) -> AsyncIterator[Socket]:
    """A socket that asked for presence, its first frame received."""
    async with connect(user, path, ASKED, **kwargs) as socket:
        assert (await socket.receive_json())["type"] in {"connection_established", "inbox_established"}
        yield socket


async def test_presence_is_sent_after_the_first_frame_and_at_each_change(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    before = timezone.now()
    async with connect(live_people.student, None, ASKED) as student:
        assert await student.receive_json() == established(live_conversation)
        assert await student.receive_json() == offline(live_people.teacher)
        async with asking(connect, live_people.teacher, live_conversation) as teacher:
            assert await teacher.receive_json() == online(live_people.student)
            assert await student.receive_json() == online(live_people.teacher)
        gone = await student.receive_json()
        left = await seen(live_people.teacher)
        assert gone == offline(live_people.teacher, left)
        assert before < left < timezone.now()
        async with connected(connect, live_people.teacher, live_conversation):
            assert await student.receive_json() == online(live_people.teacher, left)
        again = await student.receive_json()
        assert again == offline(live_people.teacher, await seen(live_people.teacher))
        assert again != gone
        await student.silence()


async def test_sockets_that_did_not_subscribe_receive_no_presence(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with (
        connected(connect, live_people.student) as student,
        connect(live_people.student, None, "?presence=0") as tab,
        connect(live_people.student, INBOX) as inbox,
    ):
        await tab.receive_json()
        await inbox.receive_json()
        async with asking(connect, live_people.teacher, live_conversation) as teacher:
            assert await teacher.receive_json() == online(live_people.student)
        await ended("presence-report", "presence-look-ups-batches")
        await open_and_silent(student, tab, inbox)


async def test_a_user_is_offline_only_when_the_last_socket_closes(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with asking(connect, live_people.student) as student:
        assert await student.receive_json() == offline(live_people.teacher)
        async with connect(live_people.teacher, INBOX):
            assert await student.receive_json() == online(live_people.teacher)
            async with connected(connect, live_people.teacher, live_conversation):
                pass
            await asyncio.sleep(0.3)  # longer than the grace
            await student.silence()
        assert await student.receive_json() == offline(live_people.teacher, await seen(live_people.teacher))


async def test_reloading_a_page_does_not_send_offline(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "GRACE_SECONDS", 0.5)
    async with asking(connect, live_people.student) as student:
        assert await student.receive_json() == offline(live_people.teacher)
        for _ in range(3):
            async with connected(connect, live_people.teacher, live_conversation):
                pass
        assert await student.receive_json() == online(live_people.teacher)
        assert (await student.receive_json())["is_online"] is False
        assert await LastSeen.objects.acount() == 1


async def test_an_inbox_receives_the_presence_of_every_participant(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    pupil = await in_thread(make_user, "pupil", RoleChoices.STUDENT, mentor=live_people.teacher)
    await in_thread(conversation_of, pupil, live_people.teacher)
    await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    async with connected(connect, live_people.student), asking(connect, live_people.teacher, INBOX) as inbox:
        first = [await inbox.receive_json() for _ in range(2)]
        assert sorted(first, key=lambda frame: frame["user"]) == [online(live_people.student), offline(pupil)]
        async with connected(connect, pupil), connected(connect, live_people.other_student):
            assert await inbox.receive_json() == online(pupil)
        assert (await inbox.receive_json())["is_online"] is False
        await inbox.silence()


async def test_an_inbox_receives_the_presence_of_new_participants(connect: Connect, live_people: People) -> None:
    async with asking(connect, live_people.teacher, INBOX) as inbox, asking(connect, live_people.student) as student:
        assert await student.receive_json() == online(live_people.teacher)
        told: dict[str, Any] = {}
        while len(told) < 2 or told["presence"] == offline(live_people.student):  # as it was when they were found
            frame = await inbox.receive_json()
            told[frame["type"]] = frame
        assert told["presence"] == online(live_people.student)
        assert told["conversation_update"]["conversation"]["is_active"]


async def test_a_thousand_students_do_not_close_an_inbox_as_slow(connect: Connect, live_people: People) -> None:
    from tests.test_scale import pupils

    await in_thread(pupils, live_people.teacher, 1100)
    async with asking(connect, live_people.teacher, INBOX) as inbox:
        told = [await inbox.receive_json() for _ in range(1100)]
        assert {(frame["type"], frame["is_online"]) for frame in told} == {("presence", False)}
        assert len({frame["user"] for frame in told}) == 1100
        await inbox.silence()


async def assign(student: User, mentor: User | None) -> None:
    profile = await UserProfile.objects.aget(user=student)
    profile.assigned_mentor = mentor.profile if mentor else None
    await profile.asave()


async def test_a_former_mentor_receives_no_presence_until_assigned_again(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await assign(live_people.student, live_people.trainer)
    async with (
        asking(connect, live_people.teacher, live_conversation) as former,
        asking(connect, live_people.teacher, INBOX) as inbox,
    ):
        async with connected(connect, live_people.student):
            await ended("presence-report", "presence-look-ups-batches")
            await open_and_silent(former, inbox)
        await assign(live_people.student, live_people.teacher)
        frame = await former.receive_json()
        assert (frame["type"], frame["user"]) == ("presence", live_people.student.pk)
        types: set[str] = set()
        while types != {"conversation_update", "presence"}:  # more than once where the student goes offline meanwhile
            types.add((await inbox.receive_json())["type"])


async def test_a_mentor_who_is_replaced_receives_no_more_presence(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    async with asking(connect, live_people.teacher, INBOX) as inbox:
        assert await inbox.receive_json() == offline(live_people.student)
        await assign(live_people.student, None)
        assert (await inbox.receive_json())["conversation"]["is_active"] is False
        async with connect(live_people.student, INBOX):
            await ended("presence-report", "presence-look-ups-batches")
            await inbox.silence()


async def test_nobody_receives_the_presence_of_strangers(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    await in_thread(conversation_of, live_people.other_student, live_people.trainer)
    async with (
        asking(connect, live_people.student) as student,
        asking(connect, live_people.trainer, INBOX) as trainer,
        asking(connect, live_people.stranger, INBOX) as stranger,
    ):
        assert await student.receive_json() == offline(live_people.teacher)
        assert await trainer.receive_json() == offline(live_people.other_student)
        async with connected(connect, live_people.teacher, live_conversation):
            assert await student.receive_json() == online(live_people.teacher)
            await open_and_silent(student, trainer, stranger)


async def test_messages_cost_no_presence_work(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "CONFIRMED_SECONDS", NEVER)
    async with (
        asking(connect, live_people.student) as student,
        asking(connect, live_people.teacher, live_conversation) as teacher,
    ):
        assert (await teacher.receive_json())["type"] == "presence"
        await settled()
        await student.send_json({"message": "warm"})
        while (await student.receive_json())["type"] == "presence":
            pass
        await teacher.receive_json()
        await ended("presence-report", "presence-look-ups-batches")
        calls: list[Any] = []
        monkeypatch.setattr(Heartbeats, "_call", lambda *args: calls.append(args))
        with counted_queries() as queries:
            await student.send_json({"message": "hello"})
            await student.receive_json()
            await teacher.receive_json()
        assert calls == []
        assert not [sql for sql in queries if "lastseen" in sql]


async def test_presence_is_sent_later_after_a_database_outage(
    connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
    async with asking(connect, live_people.student) as student:
        assert await student.receive_json() == offline(live_people.teacher)
        async with connected(connect, live_people.teacher, live_conversation):
            assert await student.receive_json() == online(live_people.teacher)
            await settled()
        with database_away():
            async with asyncio.timeout(5):
                while not presence.presence()._unsaved:  # noqa: ASYNC110 - nobody else waits for it
                    await asyncio.sleep(0.01)
        while (frame := await student.receive_json()) == offline(live_people.teacher):
            pass
        assert frame == offline(live_people.teacher, await seen(live_people.teacher))


async def test_last_seen_is_stored_and_deleted_with_the_user(live_people: People) -> None:
    first, then = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    student, teacher = live_people.student.pk, live_people.teacher.pk
    await in_thread(save_last_seen, {student: first, teacher: first})
    await in_thread(save_last_seen, {student: then, 10**6: then})
    assert await in_thread(load_last_seen, [student, teacher, 10**6]) == {student: then, teacher: first}
    await live_people.student.adelete()
    assert await in_thread(load_last_seen, [student, teacher]) == {teacher: first}


async def test_looking_up_many_costs_one_query(
    connect: Connect, live_people: People, live_conversation: Conversation
) -> None:
    from tests.test_scale import pupils

    await in_thread(pupils, live_people.teacher, 30)
    with counted_queries() as queries:
        async with asking(connect, live_people.teacher, INBOX) as inbox:
            for _ in range(31):
                await inbox.receive_json()
    assert len([sql for sql in queries if "lastseen" in sql]) == 1


@several_processes
class TestSeveralProcesses:
    @pytest.fixture(autouse=True)
    async def process(self) -> AsyncIterator[Heartbeats]:
        """The heartbeats of one more process, on an empty Redis."""
        made = Heartbeats()
        await connected_redis().flushdb()
        yield made
        await connected_redis().aclose()

    @pytest.fixture(autouse=True)
    def _layer_between_processes(self, settings: Any) -> None:
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": ROUGH}}

    async def test_a_user_of_another_process_is_online_until_the_last_socket_closes(
        self, connect: Connect, live_people: People, live_conversation: Conversation
    ) -> None:
        async with asking(connect, live_people.student) as student:
            assert await student.receive_json() == offline(live_people.teacher)
            async with OtherProcess() as other:
                away = await other.connect(live_people.teacher, live_conversation)
                assert await student.receive_json() == online(live_people.teacher)
                async with connected(connect, live_people.teacher, live_conversation):
                    await settled()
                    await other.run(away.socket.disconnect())
                    await asyncio.sleep(0.3)  # longer than the grace
                    await student.silence()
                assert await student.receive_json() == offline(live_people.teacher, await seen(live_people.teacher))

    async def test_a_new_process_learns_who_is_online(
        self, connect: Connect, live_people: People, live_conversation: Conversation
    ) -> None:
        async with connected(connect, live_people.teacher, live_conversation), OtherProcess() as other:
            await ended("presence-report")
            student = await other.connect(live_people.student, None, ASKED)
            assert await student.receive_json() == online(live_people.teacher)

    async def test_a_heartbeat_just_before_the_report_announces_a_new_user(
        self, connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(presence, "GATHER_SECONDS", 0.3)
        monkeypatch.setattr(presence, "CONFIRMED_SECONDS", NEVER)
        async with OtherProcess() as other:
            student = await other.connect(live_people.student, None, ASKED)
            assert await student.receive_json() == offline(live_people.teacher)
            async with connected(connect, live_people.teacher, live_conversation):
                await presence.presence().run_round()
                assert await student.receive_json() == online(live_people.teacher)

    async def test_users_of_a_dead_process_go_offline_at_its_last_heartbeat(
        self,
        connect: Connect,
        live_people: People,
        live_conversation: Conversation,
        process: Heartbeats,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for module in (heartbeats, presence):
            monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)
        monkeypatch.setattr(heartbeats, "STALE_SECONDS", 1)
        begin = timezone.now()
        await process.beat([live_people.teacher.pk])
        async with asking(connect, live_people.student) as student:
            assert await student.receive_json() == online(live_people.teacher)
            gone = await student.receive_json()
            at = await seen(live_people.teacher)
            assert gone == offline(live_people.teacher, at)
            assert abs(at - begin) < timedelta(seconds=0.5)
            async with asking(connect, live_people.student) as tab:
                assert await tab.receive_json() == gone
        presence.presence()._known.clear()
        async with asking(connect, live_people.student) as again:
            assert await again.receive_json() == gone

    async def test_a_missed_presence_change_is_found_in_a_round(
        self, connect: Connect, live_people: People, live_conversation: Conversation, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(presence, "BEAT_SECONDS", 0.1)
        async with asking(connect, live_people.student) as student, OtherProcess() as other:
            assert await student.receive_json() == offline(live_people.teacher)
            rough_layer().drop = 1
            away = await other.connect(live_people.teacher, live_conversation)
            assert await student.receive_json() == online(live_people.teacher)
            await other.run(away.socket.disconnect())
            assert (await student.receive_json())["is_online"] is False

    async def test_presence_stays_unchanged_during_a_redis_outage(
        self,
        connect: Connect,
        live_people: People,
        live_conversation: Conversation,
        process: Heartbeats,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        async def away(*_: Any) -> None:
            raise ConnectionError

        monkeypatch.setattr(presence, "BEAT_SECONDS", 0.05)
        monkeypatch.setattr(heartbeats, "BEAT_SECONDS", 0.2)
        monkeypatch.setattr(heartbeats, "REDIS_SECONDS", 0.1)
        async with OtherProcess() as other, asking(connect, live_people.student) as student:
            await other.connect(live_people.teacher, live_conversation)
            while (await student.receive_json()) != online(live_people.teacher):
                pass
            beats = presence.presence()._heartbeats
            working, beats._scripts = beats._scripts, dict.fromkeys(beats._scripts, away)
            await asyncio.sleep(0.3)  # some rounds
            assert not beats.complete
            await student.silence()
            async with asyncio.timeout(1):
                async with asking(connect, live_people.student) as tab:
                    assert await tab.receive_json() == online(live_people.teacher)
            await connected_redis().flushdb()  # and it comes back with nothing
            beats._scripts = working
            await asyncio.sleep(0.15)
            await student.silence()  # others are still given time to tell

    async def test_an_emptied_redis_takes_nobody_offline(
        self, process: Heartbeats, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert await process.beat([1, 2]) == {1, 2}
        assert await process.beat([2, 3]) == {3}
        assert process.complete
        await connected_redis().flushdb()
        assert await process.last_heartbeats([1, 2]) == {}
        assert not process.complete
        assert await process.beat([1, 2, 3]) == {1, 2, 3}
        assert set(await process.last_heartbeats([1, 2, 3, 4])) == {1, 2, 3}
        monkeypatch.setattr(process, "_incomplete_until", 0)
        assert process.complete
        assert await process.leave([2, 4]) == {2, 4}
        assert set(await process.last_heartbeats([1, 2, 3, 4])) == {1, 3}

    @pytest.mark.parametrize("hiccup", [True, False])
    async def test_only_a_long_redis_outage_gives_other_processes_time_to_report(
        self, process: Heartbeats, monkeypatch: pytest.MonkeyPatch, hiccup: bool
    ) -> None:
        async def away(*_: Any, **__: Any) -> None:
            raise ConnectionError

        monkeypatch.setattr(heartbeats, "HICCUP_SECONDS", 1 if hiccup else 0)
        await process.beat([1])
        with monkeypatch.context() as context:
            context.setattr(process, "_scripts", dict.fromkeys(process._scripts, away))
            answers = [await process.beat([1]), await process.leave([1]), await process.last_heartbeats([1])]
            assert answers == [None, None, None]
            assert not process.complete
        assert set(await process.last_heartbeats([1]) or ()) == {1}
        assert process.complete == hiccup


async def test_without_redis_presence_is_local(settings: Any) -> None:
    settings.REDIS_URL = ""
    beats = Heartbeats()
    assert (await beats.beat([1, 2]), await beats.leave([1]), await beats.last_heartbeats([1, 2])) == ({1, 2}, {1}, {})
    assert beats.complete
