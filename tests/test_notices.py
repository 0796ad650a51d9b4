"""Who is told of which unread messages, over which channel, and when."""

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from django.core import mail
from django.core.mail import EmailMultiAlternatives
from django.core.management import call_command

from accounts.models import RoleChoices, User, UserProfile
from chat import services
from chat.models import Conversation, Message
from chat.store.notice_times import recompute_notice_times
from notices.models import PushSubscription, Start
from notices.start import note_start
from tests.notices import HOUR, MINUTE, emails, later, notify_times, run_round, sent, subscribe
from tests.people import People, make_user, say, session_cookie
from tests.push_service import Browser, PushService
from tests.service_results import entry, reassign, store

pytestmark = pytest.mark.usefixtures("notices_on")

TO_STUDENT = ("student@example.com", "1 new message from Teacher")


@pytest.fixture
def people(live_people: People) -> People:
    """What the writer stores is committed, and it sees only what is."""
    return live_people


@pytest.fixture
def phone(people: People, service: PushService) -> Browser:
    """A browser of the student's."""
    browser = Browser("phone")
    subscribe(people.student, browser)
    return browser


def read_all(people: People, reader: User | None = None) -> None:
    services.mark_read(conversation=people.conversation, reader=reader or people.student)


def write(people: People, *texts: str, sender: User | None = None) -> None:
    outcomes = store([entry(people.conversation, sender or people.teacher, text) for text in texts])
    assert all(outcomes)


def payload(people: People, count: int) -> dict[str, Any]:
    return {"conversation_id": people.conversation.pk, "name": "Teacher", "count": count}


def test_a_push_comes_after_two_minutes_and_an_e_mail_after_half_an_hour(
    people: People, service: PushService, phone: Browser
) -> None:
    write(people, "one")
    later(MINUTE)
    write(people, "two")
    later(MINUTE - 2)
    assert run_round() == sent()
    later(2)
    assert run_round() == sent(pushes=1)
    assert service.to(phone) == [payload(people, 2)]
    later(28 * MINUTE - 2)
    assert run_round() == sent()
    later(2)
    assert run_round() == sent(e_mails=1)
    assert emails() == [("student@example.com", "2 new messages from Teacher")]
    later(24 * HOUR)
    assert run_round() == sent()
    assert len(service.pushes) == 1


def test_mentors_are_told_as_students_are(people: People, service: PushService) -> None:
    laptop = Browser("laptop")
    subscribe(people.teacher, laptop)
    write(people, "one", sender=people.student)
    later(30 * MINUTE)
    assert run_round() == sent(pushes=1, e_mails=1)
    assert service.to(laptop) == [payload(people, 1) | {"name": "Student"}]
    assert emails() == [("teacher@example.com", "1 new message from Student")]


def test_every_browser_gets_the_push(people: People, service: PushService, phone: Browser) -> None:
    tablet = Browser("tablet")
    subscribe(people.student, tablet)
    write(people, "one")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    assert service.to(phone) == service.to(tablet) == [payload(people, 1)]


@pytest.mark.parametrize("minutes", [1, 10])
def test_nobody_is_told_of_what_they_have_read(people: People, phone: Browser, minutes: int) -> None:
    write(people, "one")
    later(minutes * MINUTE)
    read_all(people)
    later(HOUR)
    assert notify_times(people.conversation) == (None, None)
    assert run_round() == sent()


def test_reading_some_leaves_a_notice_of_the_others_at_their_time(
    people: People, service: PushService, phone: Browser
) -> None:
    write(people, "one")
    first = people.conversation.messages.get()
    later(MINUTE)
    write(people, "two")
    later(30)
    services.mark_read_up_to(conversation=people.conversation, reader=people.student, message_id=first.pk)
    later(60)
    assert run_round() == sent()  # of the first it would be due
    later(30)
    assert run_round() == sent(pushes=1)
    assert service.to(phone) == [payload(people, 1)]


def test_after_a_notice_the_next_waits_six_hours_and_needs_something_new(
    people: People, service: PushService, phone: Browser
) -> None:
    write(people, "one")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    later(28 * MINUTE)
    assert run_round() == sent(e_mails=1)
    later(HOUR)
    write(people, "two")
    later(5 * HOUR - 2)
    assert run_round() == sent()
    later(2)
    assert run_round() == sent(pushes=1, e_mails=1)
    assert service.to(phone) == [payload(people, 1), payload(people, 2)]


def test_after_reading_the_next_notice_comes_as_the_first(people: People, phone: Browser) -> None:
    write(people, "one")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    write(people, "two")
    later(MINUTE)
    assert run_round() == sent()
    read_all(people)
    write(people, "three")
    later(2 * MINUTE - 2)
    assert run_round() == sent()
    later(2)
    assert run_round() == sent(pushes=1)
    later(28 * MINUTE)
    assert run_round() == sent(e_mails=1)
    assert emails() == [TO_STUDENT]


def test_what_was_noticed_is_no_reason_again_although_some_of_it_was_read(people: People, phone: Browser) -> None:
    write(people, "one", "two")
    first = people.conversation.messages.order_by("seq")[0]
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    services.mark_read_up_to(conversation=people.conversation, reader=people.student, message_id=first.pk)
    assert run_round() == sent()
    later(28 * MINUTE)
    assert run_round() == sent(e_mails=1)
    assert run_round() == sent()


def test_a_new_message_is_not_looked_at_later_than_it_is_due(
    people: People, service: PushService, phone: Browser, settings: Any
) -> None:
    settings.NOTIFY_AGAIN_AFTER = 5 * MINUTE
    write(people, "one")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)  # the next look is for the e-mail
    write(people, "two")
    later(5 * MINUTE)
    assert run_round() == sent(pushes=1)
    assert service.to(phone) == [payload(people, 1), payload(people, 2)]


@pytest.mark.parametrize("path", ["statement", "portable", "model"])
def test_every_way_to_store_a_message_sets_when_it_is_looked_at(
    people: People, path: str, django_capture_on_commit_callbacks: Any
) -> None:
    conversation, at = people.conversation, Message.objects.order_by("seq").values_list("timestamp", flat=True)
    if path == "model":
        say(conversation, people.teacher, "one", "two")
        say(conversation, people.student, "three")
    else:
        # A repeated client_id goes the portable way.
        repeated = [entry(conversation, people.stranger, "no")] if path == "portable" else []
        store([*repeated, entry(conversation, people.teacher, "one"), entry(conversation, people.teacher, "two")])
        store([*repeated, entry(conversation, people.student, "three")])
    delay = timedelta(seconds=120)
    assert notify_times(conversation) == (at[0] + delay, at[2] + delay)
    other = people.other_conversation
    assert notify_times(other) == (None, None)


@pytest.mark.parametrize(("key", "url", "seconds"), [("", "smtp://x", 1800), ("key", "", 120), ("", "", None)])
def test_only_channels_that_are_configured_set_when_it_is_looked_at(
    people: People, settings: Any, key: str, url: str, seconds: int | None
) -> None:
    settings.VAPID_PRIVATE_KEY, settings.EMAIL_URL = key, url
    write(people, "one")
    say(people.other_conversation, people.trainer, "one")
    for conversation in (people.conversation, people.other_conversation):
        at = conversation.messages.get().timestamp
        due = at + timedelta(seconds=seconds) if seconds is not None else None
        assert notify_times(conversation) == (due, None)


def test_without_keys_and_e_mail_it_does_nothing_and_says_so(people: People, settings: Any) -> None:
    write(people, "one")
    later(HOUR)
    settings.VAPID_PRIVATE_KEY = settings.EMAIL_URL = ""
    assert run_round() == "Notices are off: set VAPID_PRIVATE_KEY for pushes, or EMAIL_URL for e-mails."
    assert emails() == []


def test_what_was_unread_before_notices_were_switched_on_is_never_due(
    people: People, settings: Any, phone: Browser, service: PushService
) -> None:
    settings.VAPID_PRIVATE_KEY = settings.EMAIL_URL = ""
    write(people, "before")
    run_round()
    settings.VAPID_PRIVATE_KEY, settings.EMAIL_URL = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "smtp://x"
    later(HOUR)
    assert run_round() == sent()
    write(people, "after")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)  # and no e-mail, which the first message would be old enough for
    later(28 * MINUTE)
    assert run_round() == sent(e_mails=1)
    assert service.to(phone) == [payload(people, 2)]


def test_what_came_before_they_were_switched_off_is_not_due_when_they_are_on_again(
    people: People, settings: Any, phone: Browser
) -> None:
    key, url = settings.VAPID_PRIVATE_KEY, settings.EMAIL_URL
    write(people, "one")
    settings.VAPID_PRIVATE_KEY = settings.EMAIL_URL = ""
    run_round()
    later(HOUR)
    settings.VAPID_PRIVATE_KEY, settings.EMAIL_URL = key, url
    assert run_round() == sent()


@pytest.mark.parametrize("switch", ["notify_push", "notify_email"])
def test_people_switch_each_channel_off(people: People, phone: Browser, switch: str) -> None:
    UserProfile.objects.filter(user=people.student).update(**{switch: False})
    write(people, "one")
    later(30 * MINUTE)
    assert run_round() == (sent(e_mails=1) if switch == "notify_push" else sent(pushes=1))
    UserProfile.objects.filter(user=people.student).update(**{switch: True})
    later(24 * HOUR)
    assert run_round() == sent()  # of what came while it was off


def deactivated(people: People) -> None:
    User.objects.filter(pk=people.student.pk).update(is_active=False)


def with_another_mentor(people: People) -> None:
    reassign(people.student, people.trainer)


def without_an_address_and_a_browser(people: People) -> None:
    User.objects.filter(pk=people.student.pk).update(email="")
    PushSubscription.objects.all().delete()


def no_student_any_more(people: People) -> None:
    UserProfile.objects.filter(user=people.student).update(role=RoleChoices.TEACHER, assigned_mentor=None)


@pytest.mark.parametrize(
    "state", [deactivated, with_another_mentor, without_an_address_and_a_browser, no_student_any_more]
)
def test_nobody_is_told_whom_it_does_not_reach_or_concern(
    people: People, phone: Browser, state: Callable[[People], None]
) -> None:
    write(people, "one")
    state(people)
    later(HOUR)
    assert run_round() == sent()
    assert notify_times(people.conversation) == (None, None)


def test_an_e_mail_in_the_readers_language_tells_how_many_and_never_what(people: People, settings: Any) -> None:
    UserProfile.objects.filter(user=people.student).update(language="ar")
    UserProfile.objects.filter(user=people.teacher).update(full_name="عمر حسن")
    write(people, "a secret", "another secret", sender=people.teacher)
    later(30 * MINUTE)
    assert run_round() == sent(e_mails=1)
    [message] = cast(list[EmailMultiAlternatives], mail.outbox)
    assert isinstance(message.body, str)
    html = str(message.alternatives[0][0])
    assert message.subject == "رسالتان جديدتان من عمر حسن"
    assert message.from_email == "Qader <chat@school.example>"
    assert 'lang="ar" dir="rtl"' in html
    for text in (message.body, html):
        assert "عمر حسن" in text
        assert "https://chat.school.example/" in text
        assert "secret" not in text
    link = message.extra_headers["List-Unsubscribe"]
    assert link.startswith("<https://chat.school.example/api/v1/notify/unsubscribe/")
    assert message.extra_headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link.strip("<>") in message.body


def test_a_mentors_link_leads_to_the_conversation(people: People) -> None:
    write(people, "one", sender=people.student)
    later(30 * MINUTE)
    assert run_round() == sent(e_mails=1)
    assert f"https://chat.school.example/#/conversations/{people.conversation.pk}" in str(mail.outbox[0].body)


def test_a_conversation_that_somebody_has_locked_is_told_of_in_the_next_round(holder: Any, live_people: People) -> None:
    write(live_people, "one")
    later(HOUR)
    holder.lock(live_people.conversation)
    assert run_round() == sent()
    holder.commit()
    assert run_round() == sent(e_mails=1)


def test_a_thousand_conversations_take_a_few_statements_where_nothing_is_sent(
    people: People, django_assert_max_num_queries: Any
) -> None:
    mentor = people.teacher
    students = [make_user(f"pupil{n}", RoleChoices.STUDENT, mentor=mentor, is_active=False) for n in range(30)]
    conversations = [Conversation.objects.create(student=one.profile, teacher=mentor.profile) for one in students]
    for conversation in conversations:
        say(conversation, mentor, "one")
    later(HOUR)
    assert Start.objects.count() == 0
    with django_assert_max_num_queries(20):
        assert run_round() == sent()
    assert not Conversation.objects.exclude(student_notify_at=None).exists()


def test_a_session_that_has_ended_takes_no_pushes(people: People, phone: Browser, service: PushService) -> None:
    key = session_cookie(people.student)
    other = Browser("other")
    subscribe(people.student, other, key)
    people.student.set_password("another-password-2026")
    people.student.save()
    subscribe(people.student, third := Browser("third"))
    write(people, "one")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    assert service.to(third) == [payload(people, 1)]
    assert len(service.pushes) == 1
    assert PushSubscription.objects.count() == 1


def test_what_an_old_process_has_stored_is_looked_at_after_a_recomputation(
    people: People, service: PushService, phone: Browser
) -> None:
    note_start()
    write(people, "one")
    write(people, "two", sender=people.student)
    say(people.other_conversation, people.trainer, "one")
    before = notify_times(people.conversation)
    Conversation.objects.update(student_notify_at=None, teacher_notify_at=None)
    told = io.StringIO()
    call_command("recompute_waiting", "--from", str(people.conversation.pk), stdout=told)
    compared = Conversation.objects.filter(pk__gte=people.conversation.pk).count()
    assert told.getvalue() == f"{compared} conversations compared, 0 corrected, notices to look at in {compared}.\n"
    assert notify_times(people.conversation) == before
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    assert recompute_notice_times([people.conversation.pk]) == 0  # the e-mail's time is there
    later(30 * MINUTE)
    assert run_round() == sent(e_mails=3)
    assert recompute_notice_times([people.conversation.pk]) == 0  # everybody was told
    assert notify_times(people.conversation) == (None, None)
