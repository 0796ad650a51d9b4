"""`manage.py seed_demo`: demo accounts and conversations."""

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from accounts.models import User, UserProfile
from chat.models import Conversation, Message
from tests.people import PASSWORD, client_of

pytestmark = pytest.mark.django_db

ACCOUNTS = [
    ("admin", None, None),
    ("teacher1", "TEACHER", None),
    ("trainer1", "TRAINER", None),
    ("student1", "STUDENT", "teacher1"),
    ("student2", "STUDENT", "teacher1"),
    ("student3", "STUDENT", "teacher1"),
    ("student4", "STUDENT", "teacher1"),
    ("student5", "STUDENT", "trainer1"),
    ("student6", "STUDENT", None),
]


def seed(*arguments: str) -> str:
    out = StringIO()
    call_command("seed_demo", *arguments, stdout=out)
    return out.getvalue()


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (User, UserProfile, Conversation, Message)]


def test_the_accounts_are_those_of_the_contract() -> None:
    seed("--force")
    rows = User.objects.order_by("pk").values_list(
        "username", "profile__role", "profile__assigned_mentor__user__username"
    )
    assert list(rows) == ACCOUNTS
    assert list(User.objects.filter(is_superuser=True).values_list("username", flat=True)) == ["admin"]
    assert all(authenticate(username=name, password=PASSWORD) for name, _, _ in ACCOUNTS)


def test_running_it_twice_changes_nothing() -> None:
    seed("--force")
    before = everything()
    assert seed("--force") == seed("--force")
    assert everything() == before


def test_changes_are_kept_and_missing_rows_are_restored() -> None:
    seed("--force")
    User.objects.get(username="student6").delete()
    teacher = User.objects.get(username="teacher1")
    teacher.email = "me@example.org"
    teacher.set_password("my own")
    teacher.save()
    UserProfile.objects.filter(user__username="student1").update(assigned_mentor=None)
    seed("--force")
    assert set(User.objects.values_list("username", flat=True)) == {name for name, _, _ in ACCOUNTS}
    teacher = User.objects.get(username="teacher1")
    assert (teacher.email, teacher.check_password("my own")) == ("me@example.org", True)
    assert UserProfile.objects.get(user__username="student1").assigned_mentor is None


def test_it_prints_the_accounts_and_the_password() -> None:
    printed = seed("--force")
    assert PASSWORD in printed
    assert [line.split()[0] for line in printed.splitlines() if line.startswith("  ")] == [
        name for name, _, _ in ACCOUNTS
    ]


def test_it_is_refused_outside_development_unless_forced(settings: Any) -> None:
    with pytest.raises(CommandError, match="refused unless DEBUG=1, or with --force"):
        seed()
    assert User.objects.count() == 0
    settings.DEBUG = True
    seed()
    assert User.objects.count() == len(ACCOUNTS)


def test_conversations_look_like_real_ones() -> None:
    seed("--force")
    assert Conversation.objects.count() == 5
    for conversation in Conversation.objects.with_people():
        messages = list(conversation.messages.order_by("seq"))
        times = [message.timestamp for message in messages]
        assert [message.seq for message in messages] == list(range(1, conversation.last_seq + 1))
        assert times == sorted(set(times))
        assert (conversation.created_at, conversation.updated_at) == (times[0], times[-1])
        assert conversation.is_active
        for reader in (conversation.student, conversation.teacher):
            read_up_to = getattr(conversation, conversation.read_field(reader.user_id))
            received = [message for message in messages if message.sender_id != reader.user_id]
            assert [message.is_read for message in received] == [message.seq <= read_up_to for message in received]


def test_there_are_both_languages_and_something_unread() -> None:
    seed("--force")
    texts = " ".join(Message.objects.values_list("content", flat=True))
    assert "الاختبار" in texts
    assert "exam" in texts
    client = client_of(User.objects.get(username="teacher1"))
    page = client.get("/api/v1/chat/teacher/conversations/").json()
    listed = [(row["student_profile"]["username"], row["unread_message_count_for_user"]) for row in page["results"]]
    assert listed == [("student1", 2), ("student2", 0), ("student3", 0), ("student4", 0)]
