"""Reassigning and locking in the admin: who may, what the page says first, and what then happens."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.admin import reassignment as admin_reassignment
from chat.models import Assignment, Conversation, HandoffNote
from tests.admin import CONVERSATIONS, USERS, act, change_url, open_page, rows, told
from tests.people import People, client_of, conversation_of, make_user, say
from tests.test_admin_access import member

ASSIGNMENTS = reverse("admin:chat_assignment_changelist")
OTHERS = "Only students have a mentor, and only superusers change superusers and themselves."


@pytest.fixture
def lead(people: People) -> User:
    """A member of the group that may reassign and lock."""
    return member("leads")


@pytest.fixture
def browser(lead: User) -> Client:
    """The browser of the lead."""
    return client_of(lead)


def mentors(*students: User) -> list[User | None]:
    profiles = [UserProfile.objects.select_related("assigned_mentor__user").get(user=student) for student in students]
    return [profile.assigned_mentor.user if profile.assigned_mentor else None for profile in profiles]


def confirm(browser: Client, *students: User, **fields: Any) -> Any:
    return act(browser, "reassign", *students, confirmed="1", **fields)


def test_the_page_says_what_will_happen_and_changes_nothing(people: People, browser: Client) -> None:
    say(people.conversation, people.teacher, "answered", "and unread")
    say(people.conversation, people.student, "waiting")
    response = act(browser, "reassign", people.student, people.other_student, people.stranger)
    assert response.status_code == 200
    page = response.content.decode()
    assert "1 conversation becomes read-only at once." in page  # the other student has none yet
    assert "2 students have no conversation with a mentor now." in page
    assert "Not read yet: by students 2, by mentors 1." in page
    assert "1 student waits for an answer" in page
    assert 'class="admin-autocomplete"' in page
    [row] = response.context["conversations"]
    assert (row.by_student, row.by_mentor, row.waiting) == (2, 1, people.conversation.messages.latest("seq").timestamp)
    assert mentors(people.student, people.other_student, people.stranger) == [people.teacher, people.trainer, None]
    assert not Assignment.objects.exists()


def test_who_waits_is_counted_from_their_first_message_without_an_answer(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "old")
    say(people.conversation, people.teacher, "the answer")
    first, _ = say(people.conversation, people.student, "waiting", "still")
    [row] = act(browser, "reassign", people.student).context["conversations"]
    assert row.waiting == first.timestamp
    say(people.conversation, people.teacher, "another answer")
    response = act(browser, "reassign", people.student)
    assert [row.waiting for row in response.context["conversations"]] == [None]


def test_one_or_many_students_get_another_mentor(people: People, browser: Client, lead: User) -> None:
    say(people.conversation, people.student, "before")
    third = make_user("third", RoleChoices.TEACHER)
    students = [people.student, people.other_student, people.stranger]
    response = confirm(browser, *students, mentor=third.profile.pk, note="Be kind.")
    assert response.status_code == 302
    assert told(response) == ["The mentors of 3 students were changed."]
    assert mentors(*students) == [third] * 3
    assert Conversation.objects.filter(teacher=third.profile).count() == 3
    assert {row.by for row in Assignment.objects.all()} == {lead}
    assert [note.text for note in HandoffNote.objects.all()] == ["Be kind."] * 3
    changed = LogEntry.objects.filter(user=lead, object_id__in=[str(student.pk) for student in students])
    assert [entry.get_change_message() for entry in changed] == ["Changed Assigned mentor."] * 3


def test_a_mentor_can_be_taken_away_if_that_is_said(people: People, browser: Client) -> None:
    response = confirm(browser, people.student)
    assert response.status_code == 200
    assert "Choose a new mentor, or that there is none." in response.content.decode()
    response = confirm(browser, people.student, mentor=people.trainer.profile.pk, no_mentor="on")
    assert response.status_code == 200
    assert mentors(people.student) == [people.teacher]
    assert told(confirm(browser, people.student, no_mentor="on"))[-1:] == ["The mentor of 1 student was changed."]
    assert mentors(people.student) == [None]


@pytest.mark.parametrize("who", ["other_student", "admin", "nobody"])
def test_only_mentors_can_be_chosen(people: People, browser: Client, who: str) -> None:
    key = getattr(getattr(getattr(people, who, None), "profile", None), "pk", 10**9)
    assert confirm(browser, people.student, mentor=key).status_code == 200
    assert mentors(people.student) == [people.teacher]


def test_nobody_but_superusers_gives_themselves_students(people: People, lead: User, browser: Client) -> None:
    own = UserProfile.objects.create(user=lead, role=RoleChoices.TEACHER)
    response = confirm(browser, people.student, mentor=own.pk)
    assert "Only a superuser can make you somebody" in response.content.decode()
    assert mentors(people.student) == [people.teacher]


def test_others_than_students_are_left_out(people: People, browser: Client, lead: User) -> None:
    UserProfile.objects.create(user=people.admin, role=RoleChoices.STUDENT)
    UserProfile.objects.create(user=lead, role=RoleChoices.STUDENT)
    for chosen in ([people.teacher], [people.admin], [lead]):
        response = act(browser, "reassign", *chosen)
        assert (response.status_code, told(response)[-1]) == (302, OTHERS)
    response = confirm(browser, people.student, people.teacher, people.admin, mentor=people.trainer.profile.pk)
    assert told(response)[-2:] == [OTHERS, "The mentor of 1 student was changed."]
    assert mentors(people.student, people.admin, lead) == [people.trainer, None, None]


def test_a_note_too_long_is_refused(people: People, browser: Client) -> None:
    response = confirm(browser, people.student, mentor=people.trainer.profile.pk, note="x" * 4001)
    assert response.status_code == 200
    assert mentors(people.student) == [people.teacher]


def test_too_many_students_at_once_are_refused(people: People, browser: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_reassignment, "MAX_STUDENTS", 1)
    response = confirm(browser, people.student, people.other_student, no_mentor="on")
    assert told(response) == ["Choose at most 1 students at once."]
    assert mentors(people.student, people.other_student) == [people.teacher, people.trainer]


def test_the_page_shows_some_and_counts_the_others(people: People, browser: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(admin_reassignment, "MAX_SHOWN", 1)
    say(people.other_conversation, people.other_student, "waiting")
    people.conversation  # noqa: B018 - makes it
    response = act(browser, "reassign", people.student, people.other_student)
    assert [row.pk for row in response.context["conversations"]] == [people.other_conversation.pk]
    assert "and 1 more" in response.content.decode()


def test_support_sees_no_action_and_none_works(people: People) -> None:
    browser = client_of(member("support"))
    for path in (USERS, CONVERSATIONS):
        assert "action" not in open_page(browser, path)
    confirm(browser, people.student, mentor=people.trainer.profile.pk)
    act(browser, "lock_people", people.student)
    act(browser, "lock_conversations", people.conversation, path=CONVERSATIONS)
    assert mentors(people.student) == [people.teacher]
    assert not UserProfile.objects.filter(is_locked=True).exists()
    assert not Conversation.objects.filter(is_locked=True).exists()


def test_people_are_locked_and_unlocked_except_oneself_and_superusers(
    people: People, browser: Client, lead: User
) -> None:
    UserProfile.objects.create(user=lead, role=RoleChoices.TEACHER)
    UserProfile.objects.create(user=people.admin, role=RoleChoices.TEACHER)
    everybody = [people.student, people.teacher, people.admin, lead]
    refused = "You cannot lock yourself, superusers, or people without a profile."
    assert told(act(browser, "lock_people", *everybody)) == [refused, "2 users locked."]
    locked = UserProfile.objects.filter(is_locked=True).order_by("pk")
    assert {profile.user for profile in locked} == {people.student, people.teacher}
    assert told(act(browser, "lock_people", people.student))[-1:] == ["0 users locked."]
    assert told(act(browser, "unlock_people", people.student, people.teacher))[-1:] == ["2 users unlocked."]
    assert not locked.all().exists()
    assert LogEntry.objects.filter(user=lead).count() == 4


def test_conversations_are_locked_and_unlocked(people: People, browser: Client) -> None:
    both = [people.conversation, people.other_conversation]
    assert told(act(browser, "lock_conversations", *both, path=CONVERSATIONS)) == ["2 conversations locked."]
    assert Conversation.objects.filter(is_locked=True).count() == 2
    assert len(rows(browser, CONVERSATIONS, {"is_locked__exact": 1})) == 2
    answer = act(browser, "unlock_conversations", people.conversation, path=CONVERSATIONS)
    assert told(answer)[-1:] == ["1 conversation unlocked."]
    assert not Conversation.objects.get(pk=people.conversation.pk).is_locked


def test_the_history_shows_who_mentored_whom_and_notes_to_those_who_may_see_them(people: People) -> None:
    services.reassign_mentor(people.student.profile, people.trainer.profile, by=people.admin, note="Be kind.")
    lead, support = client_of(member("leads")), client_of(member("support"))
    [[_, *cells]] = rows(lead, ASSIGNMENTS)
    assert cells == ["Student", "Teacher", "Trainer", "admin", "Be kind."]
    [[_, *cells]] = rows(support, ASSIGNMENTS, {"q": "student"})
    assert cells == ["Student", "Teacher", "Trainer", "admin"]
    page = change_url(Assignment.objects.get())
    assert "Be kind." in lead.get(page).content.decode()
    answer = support.get(page)
    assert (answer.status_code, "Be kind." in answer.content.decode()) == (200, False)
    assert lead.post(page, {"hand_off": "x"}).status_code == 403


def test_the_old_conversations_of_a_former_mentor_are_not_counted_again(people: People, browser: Client) -> None:
    old = conversation_of(people.student, people.teacher)
    say(old, people.student, "before")
    confirm(browser, people.student, mentor=people.trainer.profile.pk)
    response = act(browser, "reassign", people.student)
    assert [row.teacher.user for row in response.context["conversations"]] == [people.trainer]
