"""Old messages are purged; everything that counts them goes on as if they were there."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import User
from chat.models import AuditEntry, Conversation, Message, Report, ReportOutcome, ReportState
from chat.moderation import old_messages as purging
from chat.moderation.reports import handle_report, report_message
from tests.conftest import Connect
from tests.holder import Holder
from tests.people import People, client_of, fill, message_object, say
from tests.sockets import connected, established, in_thread, new_message, receive_many, resume_complete

YEAR = "365d"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PURGED_AT_ONCE", 3)
    monkeypatch.setattr(purging, "IDS_AT_ONCE", 4)


def purge(age: str = YEAR, *options: str) -> str:
    out = io.StringIO()
    call_command("purge_messages", f"--older-than={age}", *options, stdout=out)
    return out.getvalue()


def aged(conversation: Conversation, old: int, new: int) -> list[Message]:
    """Store messages, the first of them more than a year old."""
    messages = fill(conversation, old + new)
    ids = [message.pk for message in messages[:old]]
    Message.objects.filter(pk__in=ids).update(timestamp=timezone.now() - timedelta(days=365, minutes=1))
    return messages


def test_messages_of_that_age_are_gone_and_nothing_else(people: People) -> None:
    messages = aged(people.conversation, 10, 5)
    other = aged(people.other_conversation, 2, 2)
    before = list(Conversation.objects.order_by("pk").values())
    assert purge() == "Purged 12 messages older than 365 days.\n"
    left = [message.pk for message in (*messages[10:], *other[2:])]
    assert list(Message.objects.order_by("pk").values_list("pk", flat=True)) == left
    assert list(Conversation.objects.order_by("pk").values()) == before
    assert purge() == "Purged 0 messages older than 365 days.\n"


def test_a_dry_run_says_what_would_go_and_deletes_nothing(people: People) -> None:
    aged(people.conversation, 10, 5)
    aged(people.other_conversation, 2, 0)
    expected = "12 messages of 2 conversations are older than 365 days. Nothing was purged.\n"
    assert purge(YEAR, "--dry-run") == expected
    assert Message.objects.count() == 17


@pytest.mark.parametrize(
    ("age", "why"),
    [
        ("29d", "at least 30d: what is newer may still be reported"),
        ("0d", "at least 30d: what is newer may still be reported"),
        ("365", "a number of days is expected, such as 365d"),
        ("-365d", "a number of days is expected, such as 365d"),
        ("1y", "a number of days is expected, such as 365d"),
        ("999999d", "a number of days is expected, such as 365d"),
        ("٣٦٥d", "a number of days is expected, such as 365d"),
    ],
)
def test_another_age_is_refused(people: People, age: str, why: str) -> None:
    aged(people.conversation, 2, 0)
    with pytest.raises(CommandError, match=why):
        purge(age)
    assert Message.objects.count() == 2


@pytest.mark.parametrize("age", ["30d", "99999d"])
def test_the_least_and_the_greatest_age_are_taken(people: People, age: str) -> None:
    if age == "99999d":
        assert purge(age) == f"Purged 0 messages older than {age[:-1]} days.\n"
        return
    aged(people.conversation, 2, 0)
    assert purge(age) == "Purged 2 messages older than 30 days.\n"


def test_a_killed_purge_is_ended_by_the_next_one(people: People) -> None:
    aged(people.conversation, 10, 5)
    batches = purging.purge_messages(purging.old_messages(timezone.now() - timedelta(days=365)))
    assert next(batches) == 3
    del batches
    assert Message.objects.count() == 12
    assert purge() == "Purged 7 messages older than 365 days.\n"


def test_what_is_locked_is_left_to_the_next_purge(holder: Holder, live_people: People) -> None:
    messages = aged(live_people.conversation, 4, 1)
    holder.lock(messages[1])
    assert purge() == "Purged 3 messages older than 365 days.\n"
    holder.commit()
    assert purge() == "Purged 1 messages older than 365 days.\n"


def report_of(message: Message, reporter: User) -> Report:
    return report_message(user=reporter, message_id=message.pk, body={})[0]


def test_what_an_unfinished_report_is_about_stays_until_the_report_is_closed(people: People) -> None:
    messages = aged(people.conversation, 10, 0)
    reports = [report_of(messages[number], people.student) for number in (1, 3, 5)]
    by = people.admin
    handle_report(reports[1], by=by, state=ReportState.HANDLING)
    handle_report(reports[2], by=by, state=ReportState.CLOSED, outcome=ReportOutcome.UNFOUNDED)
    assert purge(YEAR, "--dry-run").startswith("8 messages of 1 conversations")
    assert purge() == "Purged 8 messages older than 365 days.\n"
    left = Message.objects.order_by("pk").values_list("pk", flat=True)
    assert list(left) == [messages[1].pk, messages[3].pk]
    assert {report.copies.count() for report in reports} == {7, 9, 10}
    for report in reports[:2]:
        handle_report(report, by=by, state=ReportState.CLOSED, outcome=ReportOutcome.TALKED)
    assert purge() == "Purged 2 messages older than 365 days.\n"


def test_a_purge_is_recorded_first_with_how_many_there_are(people: People) -> None:
    aged(people.conversation, 10, 5)
    purge(YEAR, "--dry-run")
    assert not AuditEntry.objects.exists()
    purge()
    purge()  # finds nothing
    day = timezone.now() - timedelta(days=365)
    fields = ("actor_id", "action", "conversation_id", "person_id", "detail")
    assert list(AuditEntry.objects.values_list(*fields)) == [
        (None, "purged", None, None, f"messages before {day:%Y-%m-%d}: 10")
    ]


def test_history_count_and_cursors_go_on(people: People) -> None:
    conversation = people.conversation
    messages = aged(conversation, 10, 5)
    purge()
    client = client_of(people.teacher)
    path = f"/api/v1/chat/teacher/conversations/{conversation.pk}/messages/"
    shown = [message_object(message, people.teacher) for message in messages[10:]]

    def page(query: str) -> Any:
        answer = client.get(f"{path}?mark_read=false{query}")
        assert answer.status_code == 200
        return answer.json()

    assert page("") == {"count": 15, "next": None, "previous": None, "results": shown}
    assert page(f"&after={messages[3].pk}")["results"] == shown
    assert page(f"&before={messages[9].pk}") == {
        "count": 15,
        "next": page(f"&before={messages[9].pk}")["next"],
        "previous": None,
        "results": [],
    }
    [new] = say(conversation, people.student, "after the purge")
    assert new.seq == 16
    assert page("&limit=1") == {
        "count": 16,
        "next": None,
        "previous": page("&limit=1")["previous"],
        "results": [message_object(new, people.teacher)],
    }


def test_a_conversation_without_any_message_left_is_shown(people: People) -> None:
    aged(people.conversation, 4, 0)
    purge()
    [listed] = client_of(people.teacher).get("/api/v1/chat/teacher/conversations/").json()["results"]
    assert (listed["last_message"], listed["unread_message_count_for_user"]) == (None, 0)
    page = client_of(people.student).get("/api/v1/chat/my-conversation/messages/?limit=50").json()
    assert page == {"count": 4, "next": None, "previous": None, "results": []}


async def test_resuming_from_a_purged_message_has_no_gap_and_sockets_go_on(
    connect: Connect, live_people: People
) -> None:
    conversation = await in_thread(lambda: live_people.conversation)
    messages = await in_thread(aged, conversation, 10, 2)
    async with connected(connect, live_people.student) as open_socket:
        await in_thread(purge)
        query = f"?after={messages[2].pk}&mark_read=false"
        async with connect(live_people.teacher, conversation, query) as socket:
            assert await socket.receive_json() == established(conversation)
            expected = [await new_message(message, live_people.teacher) for message in messages[10:]]
            assert await receive_many(socket, 2) == [
                frame if "client_id" not in frame else {k: v for k, v in frame.items() if k != "client_id"}
                for frame in expected
            ]
            resumed = await socket.receive_json()
            assert resumed == resume_complete(2, resumed["read_up_to"])
            await open_socket.send_json({"message": "still here"})
            frames = await receive_many(socket, 1)
            assert frames[0]["message"]["content"] == "still here"
