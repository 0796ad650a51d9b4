"""Neither answers nor their timing reveal which accounts, conversations and messages exist."""

import re
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.backends.base import VALID_KEY_CHARS
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import RoleChoices
from chat.models import Conversation, Message
from qader.settings import PASSWORD_HASHERS
from tests.people import People, client_of, make_user, say, session_cookie
from tests.queries import recorded_queries
from tests.test_auth import login


@pytest.mark.quiet
def test_log_in_takes_equally_long_for_known_and_unknown_users(people: People, client: Any, settings: Any) -> None:
    """With production's hashes, each kind of try in turn, by the processor time of all threads."""
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    settings.LOGIN_LIMIT_ACCOUNT = settings.LOGIN_LIMIT_ADDRESS = 100
    kinds = ["known", "sleeper", "without", "nobody", "nobody@example.com", "known@example.com"]
    make_user("known", RoleChoices.STUDENT)
    make_user("sleeper", RoleChoices.STUDENT, is_active=False)
    without = make_user("without", RoleChoices.STUDENT)
    without.set_unusable_password()
    without.save()
    took: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(6):
        for name in kinds:
            begin = time.process_time()
            assert login(client, name, "wrong").status_code == 400
            took[name].append(time.process_time() - begin)
    least = {name: min(times) for name, times in took.items()}
    assert max(least.values()) < 1.5 * min(least.values()), least


def without(pk: int, queries: list[str]) -> list[str]:
    """The statements behind the session's, which has the time in it, with this id by another name."""
    return [re.sub(rf"\b{pk}\b", "N", query) for query in queries[1:] if "django_session" not in query]


@pytest.mark.parametrize("path", ["teacher/conversations/{}/messages/", "conversations/{}/mark-read/"])
def test_a_foreign_conversation_costs_the_same_as_a_missing_one(people: People, path: str) -> None:
    Conversation.objects.filter(pk=people.other_conversation.pk).update(id=43210)
    client = client_of(people.teacher)
    seen = []
    for pk in (43210, 98765):
        with recorded_queries() as queries:
            answer = client.post(f"/api/v1/chat/{path.format(pk)}", {"content": "x"}, content_type="application/json")
        seen.append((answer.status_code, answer.json(), without(pk, queries)))
    assert seen[0] == seen[1]
    assert seen[0][0] in {403, 404}


@pytest.mark.parametrize("cursor", ["before", "after"])
def test_a_foreign_message_costs_the_same_as_a_missing_one(people: People, cursor: str) -> None:
    say(people.conversation, people.student, "mine")
    say(people.other_conversation, people.trainer, "theirs")
    Message.objects.filter(conversation=people.other_conversation).update(id=43210)
    client = client_of(people.student)
    seen = []
    for pk in (43210, 98765):
        with recorded_queries() as queries:
            answer = client.get(f"/api/v1/chat/my-conversation/messages/?mark_read=false&{cursor}={pk}")
        seen.append((answer.status_code, answer.json(), without(pk, queries)))
    assert seen[0] == seen[1]
    assert seen[0][0] == 400


def test_a_sessions_key_cannot_be_guessed(people: People) -> None:
    """165 bits, of the operating system's randomness; the Cheat Sheet wants 64."""
    keys = [session_cookie(people.student) for _ in range(50)]
    assert len(set(keys)) == 50
    assert {len(key) for key in keys} == {32}
    assert set("".join(keys)) == set(VALID_KEY_CHARS)
    assert len(VALID_KEY_CHARS) ** 32 > 2**160


def test_a_session_ends_even_if_it_is_used(people: People) -> None:
    client = client_of(people.student)
    ends = Session.objects.get().expire_date
    assert timedelta(days=13, hours=23) < ends - timezone.now() <= timedelta(days=14)
    for path in ("auth/me/", "chat/my-conversation/", "chat/my-conversation/messages/"):
        assert client.get(f"/api/v1/{path}").status_code == 200
    assert Session.objects.get().expire_date == ends
