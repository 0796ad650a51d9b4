"""`manage.py recompute_waiting`: corrects all conversations, in batches, and can be stopped and run again."""

import io
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import RoleChoices
from chat.management.commands import recompute_waiting
from chat.models import Conversation
from chat.store import waiting
from tests.people import People, conversation_of, make_user, say
from tests.waiting import since_of, true_waiting


@pytest.fixture
def talks(people: People, monkeypatch: pytest.MonkeyPatch) -> list[Conversation]:
    """Seven conversations as a release before this one has left them; in every other one, the student waits."""
    monkeypatch.setattr(recompute_waiting, "BATCH", 2)
    found = []
    for number in range(7):
        pupil = make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=people.teacher)
        talk = conversation_of(pupil, people.teacher)
        say(talk, people.teacher, "welcome")
        say(talk, pupil, "a question")
        if number % 2:
            say(talk, people.teacher, "an answer")
        found.append(talk)
    Conversation.objects.update(waiting_since=None, answered_seq=0)
    return found


def run(*arguments: str, **options: Any) -> tuple[str, str]:
    out, progress = io.StringIO(), io.StringIO()
    call_command("recompute_waiting", *arguments, stdout=out, stderr=progress, **options)
    return out.getvalue(), progress.getvalue()


def test_it_corrects_all_conversations_and_says_how_many(talks: list[Conversation]) -> None:
    out, progress = run(verbosity=2)
    assert out == "7 conversations compared, 7 corrected, notices to look at in 0.\n"
    assert [line.split(",")[0] for line in progress.splitlines()] == [f"{n} of 7 conversations" for n in (2, 4, 6, 7)]
    for number, talk in enumerate(talks):
        assert since_of(talk) == true_waiting(talk)[0]
        assert (since_of(talk) is None) == bool(number % 2)
    assert run() == ("7 conversations compared, 0 corrected, notices to look at in 0.\n", "")


def test_what_was_corrected_before_it_was_killed_stays(
    talks: list[Conversation], monkeypatch: pytest.MonkeyPatch
) -> None:
    correct = waiting._correct

    def die(conversation_id: int, *, skip_locked: bool) -> bool:
        if conversation_id == talks[3].pk:
            raise KeyboardInterrupt
        return correct(conversation_id, skip_locked=skip_locked)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(waiting, "_correct", die)
        run()
    assert [since_of(talk) is not None for talk in talks] == [True, False, True, False, False, False, False]
    assert run("--from", str(talks[3].pk)) == ("4 conversations compared, 4 corrected, notices to look at in 0.\n", "")
    assert run() == ("7 conversations compared, 0 corrected, notices to look at in 0.\n", "")


@pytest.mark.usefixtures("db")
def test_it_needs_no_conversation() -> None:
    assert run() == ("0 conversations compared, 0 corrected, notices to look at in 0.\n", "")
