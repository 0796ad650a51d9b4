"""The dashboard in the admin: who waits, messages a day, reports; the plot runs as the language does."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import RoleChoices
from chat.admin.plots import HEIGHT, MARGIN, WIDTH, bar_plot
from chat.models import Answer, Conversation, Message, Report, ReportOutcome, ReportState
from chat.moderation.reports import handle_report
from tests.people import People, client_of, conversation_of, fill, make_user, say
from tests.queries import recorded_queries
from tests.test_admin_access import member
from tests.test_reports import reported

DASHBOARD = reverse("admin:chat_dashboard")


def page(browser: Client, language: str = "en") -> str:
    answer = browser.get(DASHBOARD, headers={"accept-language": language})
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_the_table_has_the_messages_of_each_of_14_days_the_newest_first(people: People) -> None:
    messages = say(people.conversation, people.student, "one", "two", "three", "a secret")
    for message, days in zip(messages, (0, 13, 13, 14), strict=True):
        Message.objects.filter(pk=message.pk).update(timestamp=timezone.now() - timedelta(days=days))
    text = page(client_of(member("leads")))
    table = text.partition('aria-labelledby="days"')[2].partition("</table>")[0]
    assert [int(count) for count in re.findall(r"<td>(\d+)</td>", table)] == [1, *[0] * 12, 2]
    assert re.findall(r"<title>.*: (\d+)</title>", text) == ["2", *["0"] * 12, "1"]
    assert "secret" not in text


def cells(text: str, table: str) -> list[list[str]]:
    """Return the rows of one of the tables in words, without its head."""
    body = text.partition(f'aria-labelledby="{table}"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [
            unescape(re.sub(r"<[^>]+>", "", cell)).replace("\xa0", " ")
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def test_who_waits_longest_comes_first_with_the_mentors_answer_times(people: People) -> None:
    browser = client_of(member("leads"))
    assert "No student waits." in page(browser)
    talk, other = people.conversation, people.other_conversation
    for conversation, hours in ((talk, 3), (other, 50)):
        say(conversation, conversation.student.user, "a secret")
        since = timezone.now() - timedelta(hours=hours, minutes=1)
        Conversation.objects.filter(pk=conversation.pk).update(waiting_since=since)
    noon = timezone.now().replace(hour=9, minute=0)  # at noon in Riyadh
    Answer.objects.create(
        conversation=talk,
        mentor=people.teacher.profile,
        waited_from=noon - timedelta(days=2),
        answered_at=noon - timedelta(days=2) + timedelta(minutes=20),
    )
    text = page(browser)
    assert cells(text, "waiting") == [
        [f"#{other.pk}", "Other_Student", "Trainer", "2 days, 2 hours"],
        [f"#{talk.pk}", "Student", "Teacher", "3 hours, 1 minute"],
    ]
    assert cells(text, "mentors") == [
        ["Trainer", "1", "2 days, 2 hours", "0", "-", "-"],
        ["Teacher", "1", "3 hours, 1 minute", "1", "20 minutes", "20 minutes"],
    ]
    assert "secret" not in text


def test_reports_that_are_not_closed_are_listed_the_oldest_first(people: People) -> None:
    now = timezone.now()
    second = reported(people, created_at=now - timedelta(hours=2))
    first = reported(people, created_at=now - timedelta(days=3))
    closed = reported(people)
    handle_report(closed, by=people.admin, state=ReportState.CLOSED, outcome=ReportOutcome.UNFOUNDED)
    handle_report(first, by=people.admin, state=ReportState.HANDLING)
    text = page(client_of(people.admin))
    listed = re.findall(r'<a href="/admin/chat/report/(\d+)/change/">', text)
    assert list(map(int, listed)) == [first.pk, second.pk]
    assert "open: 1 · being handled: 1" in text
    Report.objects.all().delete()
    assert "No report waits." in page(client_of(people.admin))


def test_it_is_for_those_who_handle_reports_and_they_are_led_to_it(people: People) -> None:
    index = reverse("admin:index")
    for user, status in (
        (member("leads"), 200),
        (member("support"), 403),
        (make_user("helper", None, is_staff=True), 403),
    ):
        browser = client_of(user)
        assert browser.get(DASHBOARD).status_code == status
        assert (f'href="{DASHBOARD}"' in browser.get(index).content.decode()) == (status == 200)
    assert client_of(people.teacher).get(DASHBOARD).status_code == 302


def test_it_costs_the_same_for_any_number(people: People) -> None:
    browser = client_of(people.admin)

    def cost() -> int:
        with recorded_queries() as queries:
            page(browser)
        return len(queries)

    say(people.conversation, people.student, "waiting")
    few = cost()
    for number in range(12):
        student = make_user(f"pupil{number}", RoleChoices.STUDENT, mentor=people.teacher)
        say(conversation_of(student, people.teacher), student, "waiting")
    fill(people.conversation, 300)
    for _ in range(12):
        reported(people)
    assert cost() == few <= 8  # session, user, who waits, mentors, their answers, days, reports, states


@pytest.mark.parametrize(("language", "anchor"), [("en", "end"), ("ar", "start")])
def test_the_axis_stands_where_a_line_of_text_begins(people: People, language: str, anchor: str) -> None:
    text = page(client_of(people.admin), language)
    numbers = re.findall(r'class="number" x="(\d+)".*?text-anchor="(\w+)"', text, re.DOTALL)
    assert set(numbers) == {(str(MARGIN - 6) if language == "en" else str(WIDTH - MARGIN + 6), anchor)}
    bars = [float(x) for x in re.findall(r'<rect x="([\d.]+)"', text)]
    assert bars == sorted(bars, reverse=language == "ar")
    assert len(bars) == 14


def figures(values: list[int], **options: Any) -> Any:
    plot = bar_plot([(str(value), value) for value in values], right_to_left=False, **options)
    return [bar.height for bar in plot.bars], [number for number, _ in plot.ticks]


def test_a_plot_ends_at_a_round_number_and_stays_in_its_frame() -> None:
    assert figures([]) == ([], [0, 1, 2])
    assert figures([0, 0]) == ([0, 0], [0, 1, 2])
    assert figures([1, 2]) == ([84, 168], [0, 1, 2])
    assert figures([3])[1] == [0, 2, 4]
    assert figures([25, 50])[1] == [0, 25, 50]
    assert figures([1234, 51])[1] == [0, 1000, 2000]
    for rtl in (False, True):
        plot = bar_plot([(str(value), value) for value in range(14)], right_to_left=rtl)
        for bar in plot.bars:
            assert plot.start <= bar.x and bar.x + bar.width <= plot.end
            assert bar.y >= 0 and bar.y + bar.height < HEIGHT
