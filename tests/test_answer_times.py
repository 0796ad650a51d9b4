"""Answer times: without the night, and what the admin shows of them and of who waits."""

import re
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import RoleChoices, UserProfile
from chat.models import Answer, Conversation
from chat.store.answer_times import PERIOD, AnswerTimes, SchoolClock, answer_times
from tests.admin import CONVERSATIONS, rows
from tests.people import People, client_of, conversation_of, make_user, say
from tests.queries import recorded_queries
from tests.service_results import reassign

MENTORS = reverse("admin:chat_mentor_changelist")
RIYADH = ZoneInfo("Asia/Riyadh")
NIGHT = (time(21), time(7))
MINUTES = st.integers(0, 14 * 24 * 60)
CLOCKS = st.times().map(lambda clock: clock.replace(second=0, microsecond=0))


def riyadh(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=RIYADH).astimezone(UTC)


@pytest.mark.parametrize(
    ("begin", "end", "hours"),
    [
        ("2026-03-04 09:00", "2026-03-04 11:30", 2.5),
        ("2026-03-04 20:00", "2026-03-05 08:00", 2),
        ("2026-03-04 22:00", "2026-03-05 06:00", 0),
        ("2026-03-04 22:00", "2026-03-05 07:15", 0.25),
        ("2026-03-04 03:00", "2026-03-04 22:00", 14),
        ("2026-03-04 12:00", "2026-03-11 12:00", 7 * 14),
        ("2026-03-04 12:00", "2026-03-04 12:00", 0),
    ],
)
def test_the_night_does_not_count(begin: str, end: str, hours: float) -> None:
    assert SchoolClock(RIYADH, NIGHT).between(riyadh(begin), riyadh(end)) == timedelta(hours=hours)


def test_without_quiet_hours_all_time_counts() -> None:
    begin, end = riyadh("2026-03-04 20:00"), riyadh("2026-03-05 08:00")
    assert SchoolClock(RIYADH, None).between(begin, end) == timedelta(hours=12)


@given(st.tuples(CLOCKS, CLOCKS).filter(lambda hours: hours[0] != hours[1]), MINUTES, st.integers(0, 3 * 24 * 60))
def test_it_counts_the_minutes_that_are_not_quiet(quiet: tuple[time, time], offset: int, length: int) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=offset)
    first, last = quiet

    def is_quiet(clock: time) -> bool:
        return first <= clock < last if first < last else clock >= first or clock < last

    minutes = ((begin + timedelta(minutes=n)).astimezone(RIYADH).time() for n in range(length))
    expected = timedelta(minutes=sum(not is_quiet(clock) for clock in minutes))
    assert SchoolClock(RIYADH, quiet).between(begin, begin + timedelta(minutes=length)) == expected


def answered(conversation: Conversation, *hours: float, ago: timedelta = timedelta(days=1)) -> None:
    """Store answers that took so many hours."""
    at = timezone.now() - ago
    for took in hours:
        fields: dict[str, Any] = {"conversation": conversation, "mentor": conversation.teacher}
        Answer.objects.create(waited_from=at - timedelta(hours=took), answered_at=at, **fields)


def test_half_and_nine_in_ten_of_the_last_month_s_answers(people: People, settings: Any) -> None:
    settings.NOTIFY_QUIET_HOURS = None
    answered(people.conversation, *range(1, 11))
    answered(people.conversation, 500, ago=PERIOD + timedelta(hours=1))
    answered(people.other_conversation, 3)
    mentors = [people.teacher.profile.pk, people.trainer.profile.pk, people.student.profile.pk]
    with recorded_queries() as queries:
        times = answer_times(mentors)
    assert len(queries) == 1
    three = timedelta(hours=3)
    assert times == {
        mentors[0]: AnswerTimes(10, timedelta(hours=5.5), timedelta(hours=9)),
        mentors[1]: AnswerTimes(1, three, three),
    }
    assert answer_times(mentors[2:]) == {}


def test_the_night_of_the_settings_does_not_count(people: People, settings: Any) -> None:
    settings.NOTIFY_QUIET_HOURS, settings.SCHOOL_TIME_ZONE = (time(0), time(23)), ZoneInfo("UTC")
    answered(people.conversation, 48)
    [times] = answer_times([people.teacher.profile.pk]).values()
    assert times.median == timedelta(hours=2)


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def waits(conversation: Conversation, **ago: float) -> None:
    """Have the student of this conversation wait for so long."""
    say(conversation, conversation.student.user, "a question")
    Conversation.objects.filter(pk=conversation.pk).update(waiting_since=timezone.now() - timedelta(**ago))


def test_mentors_are_listed_with_who_waits_and_how_long_answers_took(
    people: People, browser: Client, settings: Any
) -> None:
    settings.NOTIFY_QUIET_HOURS = None
    pupil = make_user("pupil", RoleChoices.STUDENT, mentor=people.teacher)
    waits(people.conversation, days=1, hours=2, minutes=1)
    waits(conversation_of(pupil, people.teacher), minutes=3)
    waits(people.other_conversation, days=9)
    reassign(people.other_student, None)
    answered(people.conversation, 0.5, 2, 30)
    blank = "\N{NO-BREAK SPACE}"
    longest, half, most = (words.replace("_", blank) for words in ("1_day, 2_hours", "2_hours", "1_day, 6_hours"))
    assert rows(browser, MENTORS) == [
        ["Teacher", "2", longest, "3", half, most],
        ["Trainer", "0", "-", "0", "-", "-"],
    ]
    link = f"{CONVERSATIONS}?teacher__id__exact={people.teacher.profile.pk}&amp;waiting=any"
    assert f'href="{link}"' in browser.get(MENTORS).content.decode()
    assert len(rows(browser, link.replace("&amp;", "&"))) == 2


@pytest.mark.parametrize("order", ["0", "-0", "1", "-1", "2", "-2"])
def test_mentors_are_sorted_and_found(people: People, browser: Client, order: str) -> None:
    waits(people.conversation, hours=1)
    found = [row[0] for row in rows(browser, MENTORS, {"o": order})]
    assert found == (["Trainer", "Teacher"] if order in {"-0", "1", "-2"} else ["Teacher", "Trainer"])
    assert [row[0] for row in rows(browser, MENTORS, {"q": "trainer@example.com"})] == ["Trainer"]


def test_the_list_of_mentors_costs_the_same_for_any_number(people: People, browser: Client) -> None:
    def cost() -> int:
        with recorded_queries() as queries:
            assert rows(browser, MENTORS)
        return len(queries)

    few = cost()
    for number in range(20):
        mentor = make_user(f"mentor{number}", RoleChoices.TEACHER)
        student = make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=mentor)
        waits(conversation_of(student, mentor), hours=1)
        answered(conversation_of(student, mentor), 1, 2)
    assert cost() == few <= 6  # session, user, count, page, answers


def test_conversations_show_and_sort_by_who_waits_longest(people: People, browser: Client) -> None:
    talks = []
    for number, hours in enumerate((2, 30, 60)):
        pupil = make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=people.teacher)
        talks.append(conversation_of(pupil, people.teacher))
        waits(talks[-1], hours=hours)
    former = people.other_conversation
    waits(former, days=9)
    reassign(people.other_student, None)
    nobody = people.conversation
    first, second, third = (f"#{talk.pk}" for talk in reversed(talks))

    def listed(**query: str) -> list[str]:
        return [row[0] for row in rows(browser, CONVERSATIONS, query)]

    page = browser.get(CONVERSATIONS).content.decode()
    [column] = re.findall(r"column-waiting_since.*?\?o=(\d+)", page, re.DOTALL)
    assert listed(o=column)[:3] == [first, second, third]
    assert listed(o=f"-{column}")[-3:] == [third, second, first]
    assert set(listed()) == {first, second, third, f"#{former.pk}", f"#{nobody.pk}"}
    assert sorted(listed(waiting="any")) == sorted([first, second, third])
    assert sorted(listed(waiting="day")) == sorted([first, second])
    assert listed(waiting="sometimes") == []
    shown = {row[0]: row[4] for row in rows(browser, CONVERSATIONS)}
    assert shown[f"#{former.pk}"] == shown[f"#{nobody.pk}"] == "-"
    assert shown[first] != "-"


def test_a_mentor_without_answers_or_students_is_listed_and_others_are_not(people: People, browser: Client) -> None:
    UserProfile.objects.filter(user=people.teacher).update(role=RoleChoices.ADMIN)
    assert [row[0] for row in rows(browser, MENTORS)] == ["Trainer"]


def test_who_may_see_the_mentors(people: People) -> None:
    from django.contrib.auth.models import Group

    helper = make_user("helper", None, is_staff=True)
    assert client_of(helper).get(MENTORS).status_code == 403
    helper.groups.add(Group.objects.get(name="support"))
    assert rows(client_of(helper), MENTORS)
    assert client_of(people.teacher).get(MENTORS).status_code == 302
