"""Reports of messages: who may make one, what it keeps, how many, and how the leads handle them."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import User, UserProfile
from chat.models import AuditEntry, Message, Report, ReportedMessage, ReportOutcome, ReportState
from chat.moderation import reports
from chat.moderation.report_metrics import ReportsCollector
from chat.moderation.reports import (
    handle_report,
    report_message,
    unfinished_reports,
)
from tests.admin import CONVERSATIONS, change_url, open_page, rows
from tests.people import People, client_of, fill, make_user, say
from tests.queries import at_once
from tests.test_admin_access import member

REPORTS = reverse("admin:chat_report_changelist")


def report(user: User | None, message_id: int | str, body: Any = None) -> Any:
    path = f"/api/v1/chat/messages/{message_id}/report/"
    return client_of(user).post(path, {} if body is None else body, content_type="application/json")


def reported(people: People, **fields: Any) -> Report:
    """A report of a new message of the teacher's by the student."""
    message = say(people.conversation, people.teacher, "reported text")[0]
    found, _ = report_message(user=people.student, message_id=message.pk, body={"reason": "a reason"})
    Report.objects.filter(pk=found.pk).update(**fields)
    return Report.objects.get(pk=found.pk)


def test_a_report_is_answered_with_its_state_and_repeated_with_the_same(people: People) -> None:
    message = say(people.conversation, people.teacher, "hello")[0]
    answer = report(people.student, message.pk, {"reason": "not right", "other": 1})
    stored = Report.objects.get()
    assert (answer.status_code, answer.json()) == (
        201,
        {
            "id": stored.pk,
            "message": message.pk,
            "state": "open",
            "created_at": stored.created_at.isoformat().replace("+00:00", "Z"),
        },
    )
    assert (stored.conversation_id, stored.reporter_id, stored.sender_id, stored.reason) == (
        *(people.conversation.pk, people.student.pk, people.teacher.pk, "not right"),
    )
    handle_report(stored, by=people.admin, state=ReportState.HANDLING)
    again = report(people.student, message.pk, {"reason": "more"})
    assert (again.status_code, again.json()) == (200, answer.json() | {"state": "handling"})
    assert Report.objects.values_list("reason", flat=True).get() == "not right"


def test_a_report_keeps_the_message_and_five_neighbours_each_side(people: People) -> None:
    messages = fill(people.conversation, 20)
    say(people.other_conversation, people.trainer, "foreign")
    Message.objects.filter(seq__in=[9, 12], conversation=people.conversation).delete()
    assert messages[9].sender == people.teacher
    subject = Message.objects.get(conversation=people.conversation, seq=10)
    assert report(people.student, subject.pk).status_code == 201
    Message.objects.all().delete()
    copies = ReportedMessage.objects.order_by("seq").values_list("seq", "content", "sender_id", "message_id")
    senders = {0: people.teacher.pk, 1: people.student.pk}
    wanted = [4, 5, 6, 7, 8, 10, 11, 13, 14, 15, 16]
    assert [copy[:3] for copy in copies] == [(seq, f"message {seq}", senders[seq % 2]) for seq in wanted]
    assert [copy[3] for copy in copies if copy[0] == 10] == [subject.pk]


def test_the_first_message_has_neighbours_on_one_side_only(people: People) -> None:
    say(people.conversation, people.teacher, *map(str, range(8)))
    assert report(people.student, Message.objects.get(seq=1).pk).status_code == 201
    assert list(ReportedMessage.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_former_participants_report_too(people: People) -> None:
    mine = say(people.conversation, people.student, "of the student")[0]
    theirs = say(people.conversation, people.teacher, "of the mentor")[0]
    UserProfile.objects.filter(user=people.student).update(assigned_mentor=people.trainer.profile)
    assert report(people.student, theirs.pk).status_code == 201
    assert report(people.teacher, mine.pk).status_code == 201


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_refusals_come_in_their_order(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    own = say(people.conversation, people.student, "mine")[0]
    theirs = say(people.conversation, people.teacher, "one", "two")
    foreign = say(people.other_conversation, people.trainer, "foreign")[0]
    too_long = {"reason": "x" * 1001}
    monkeypatch.setattr(reports, "REPORT_LIMIT", 1)
    assert report(people.student, theirs[0].pk, {"reason": "\U0001f600" * 1000}).status_code == 201
    for message_id in (foreign.pk, foreign.pk + 1000, "9" * 30, 0):
        assert refusal(report(people.student, message_id, too_long)) == (404, "message_not_found"), message_id
    assert refusal(report(people.student, own.pk, too_long)) == (400, "own_message")
    assert refusal(report(people.student, theirs[0].pk, too_long)) == (400, "reason_too_long")
    assert report(people.student, theirs[0].pk).status_code == 200  # although the limit is reached
    assert refusal(report(people.student, theirs[1].pk, {"reason": 5})) == (400, "invalid_frame")
    assert refusal(report(people.student, theirs[1].pk, {"reason": "a\0b"})) == (400, "invalid_characters")
    assert refusal(report(people.student, theirs[1].pk, {"reason": "\ud800"})) == (400, "invalid_characters")
    assert refusal(report(people.student, theirs[1].pk, [])) == (400, "invalid_frame")
    assert refusal(report(people.student, theirs[1].pk, {"reason": None})) == (429, "rate_limited")
    assert refusal(report(None, theirs[1].pk)) == (401, "not_authenticated")
    assert Report.objects.count() == 1
    answer = report(people.student, theirs[1].pk, too_long)
    assert answer.json() == {"reason": ["The reason is longer than 1000 characters."], "code": "reason_too_long"}


def test_twenty_reports_in_a_day_and_then_a_wait(people: People) -> None:
    messages = say(people.conversation, people.teacher, *map(str, range(22)))
    assert {report(people.student, message.pk).status_code for message in messages[:20]} == {201}
    Report.objects.filter(message_id=messages[0].pk).update(created_at=timezone.now() - timedelta(hours=23))
    answer = report(people.student, messages[20].pk)
    assert refusal(answer) == (429, "rate_limited")
    assert 3590 <= int(answer["Retry-After"]) <= 3600
    mine = say(people.conversation, people.student, "of the student")[0]
    assert report(people.teacher, mine.pk).status_code == 201  # others have their own
    Report.objects.filter(message_id=messages[0].pk).update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    assert report(people.student, messages[20].pk).status_code == 201
    assert refusal(report(people.student, messages[21].pk)) == (429, "rate_limited")


def test_reports_at_once_are_one_and_never_exceed_the_limit(
    live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "REPORT_LIMIT", 3)
    messages = say(live_people.conversation, live_people.teacher, *map(str, range(6)))
    same = at_once(*[lambda: report(live_people.student, messages[0].pk).status_code] * 4)
    assert sorted(same) == [200, 200, 200, 201]
    others = at_once(*[lambda pk=message.pk: report(live_people.student, pk).status_code for message in messages[1:]])
    assert sorted(others) == [201, 201, 429, 429, 429]


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head"])
def test_a_report_is_a_post(people: People, method: str) -> None:
    message = say(people.conversation, people.teacher, "hello")[0]
    client = client_of(people.student)
    assert getattr(client, method)(f"/api/v1/chat/messages/{message.pk}/report/").status_code == 405


def test_the_metrics_tell_how_many_wait_and_the_oldest_age(people: People) -> None:
    collector = ReportsCollector()
    assert unfinished_reports() == (0, None)
    reported(people, created_at=timezone.now() - timedelta(hours=3))
    closed = reported(people, created_at=timezone.now() - timedelta(hours=9))
    reported(people)
    handle_report(closed, by=people.admin, state=ReportState.CLOSED, outcome=ReportOutcome.UNFOUNDED)
    collector.ask()
    collector._asked = None
    figures = {family.name: family.samples[0].value for family in collector.collect()}
    assert figures["qader_reports_unfinished"] == 2
    assert 10_800 <= figures["qader_reports_oldest_seconds"] < 10_860


@pytest.mark.django_db
@pytest.mark.parametrize(("state", "outcome"), [("closed", ""), ("open", "talked"), ("handling", "locked")])
def test_only_a_closed_report_has_an_outcome(state: str, outcome: str) -> None:
    row = Report(message_id=1, conversation_id=1, reporter_id=1, sender_id=2, state=state, outcome=outcome)
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save()


def test_the_queue_shows_what_waits_first_and_no_text(people: People) -> None:
    now = timezone.now()
    younger = reported(people, created_at=now - timedelta(hours=1))
    done = reported(people, created_at=now - timedelta(hours=9))
    handle_report(done, by=people.admin, state=ReportState.CLOSED, outcome=ReportOutcome.TALKED)
    older = reported(people, created_at=now - timedelta(hours=2))
    browser = client_of(member("leads"))
    listed = rows(browser, REPORTS)
    talk = f"#{people.conversation.pk}"
    assert [[row[0], *row[2:]] for row in listed] == [
        [f"#{older.pk}", "open", "student", "teacher", talk, "-", "-"],
        [f"#{younger.pk}", "open", "student", "teacher", talk, "-", "-"],
        [f"#{done.pk}", "closed", "student", "teacher", talk, "admin", "talked with those involved"],
    ]
    assert "reported text" not in browser.get(REPORTS).content.decode()
    assert not AuditEntry.objects.filter(action="opened").exists()


def test_a_lead_opens_and_closes_a_report_with_a_record(people: People) -> None:
    found = reported(people)
    Message.objects.all().delete()
    lead = member("leads")
    browser = client_of(lead)
    page = browser.get(change_url(found)).content.decode()
    assert "reported text" in page and "a reason" in page
    posted = open_page(browser, change_url(found))
    for wrong in ({"state": ["closed"]}, {"outcome": ["talked"]}):
        assert browser.post(change_url(found), posted | wrong).status_code == 200, wrong
    handling = posted | {"state": ["handling"]}
    assert browser.post(change_url(found), handling).status_code == 302
    closing = open_page(browser, change_url(found)) | {"state": ["closed"], "outcome": ["talked"], "note": ["تم"]}
    assert browser.post(change_url(found), closing).status_code == 302
    found.refresh_from_db()
    assert (found.state, found.outcome, found.note, found.handler_id) == ("closed", "talked", "تم", lead.pk)
    assert found.closed_at is not None
    talk, teacher = people.conversation.pk, people.teacher.pk
    fields = ("actor_id", "action", "conversation_id", "person_id", "detail")
    entries = list(AuditEntry.objects.order_by("pk").values_list(*fields))
    assert entries == [
        (lead.pk, "opened", talk, None, f"report {found.pk}"),
        (lead.pk, "report_handled", talk, teacher, f"report {found.pk}: handling"),
        (lead.pk, "report_handled", talk, teacher, f"report {found.pk}: closed, talked"),
    ]


def test_a_closed_report_that_is_opened_again_has_no_outcome(people: People) -> None:
    found = reported(people)
    handle_report(found, by=people.admin, state=ReportState.CLOSED, outcome=ReportOutcome.LOCKED, note="a note")
    handle_report(found, by=people.admin, state=ReportState.OPEN)
    found.refresh_from_db()
    assert (found.state, found.outcome, found.closed_at) == ("open", "", None)


def test_support_reads_a_report_and_changes_nothing(people: People) -> None:
    found = reported(people)
    browser = client_of(member("support"))
    assert "reported text" in browser.get(change_url(found)).content.decode()
    assert "state" not in open_page(browser, change_url(found))
    assert browser.post(change_url(found), {"state": "closed", "outcome": "talked"}).status_code == 403
    assert Report.objects.get().state == "open"


def test_who_may_see_no_reports_sees_none(people: People) -> None:
    found = reported(people)
    for user in (make_user("helper", None, is_staff=True), people.student):
        for path in (REPORTS, change_url(found)):
            assert client_of(user).get(path).status_code in {302, 403}


def test_a_report_is_not_fetched_in_advance(people: People) -> None:
    found = reported(people)
    answer = client_of(people.admin).get(change_url(found), headers={"Sec-Purpose": "prefetch"})
    assert (answer.status_code, answer.content) == (403, b"")
    assert not AuditEntry.objects.exists()


def test_conversations_are_filtered_by_their_reports(people: People) -> None:
    found = reported(people)
    other = people.other_conversation
    browser = client_of(people.admin)

    def listed(choice: str) -> list[str]:
        return [row[0] for row in rows(browser, CONVERSATIONS, {"reported": choice})]

    mine, theirs = f"#{people.conversation.pk}", f"#{other.pk}"
    assert (listed("unfinished"), listed("ever"), listed("never")) == ([mine], [mine], [theirs])
    handle_report(found, by=people.admin, state=ReportState.CLOSED, outcome=ReportOutcome.UNFOUNDED)
    assert (listed("unfinished"), listed("ever")) == ([], [mine])
    assert sorted(listed("nonsense")) == sorted([mine, theirs])


def test_texts_in_a_report_are_escaped_and_find_their_direction(people: People, client: Client) -> None:
    message = say(people.conversation, people.teacher, "<script>alert(1)</script>")[0]
    found, _ = report_message(user=people.student, message_id=message.pk, body={"reason": "<img src=x>"})
    page = client_of(people.admin).get(change_url(found)).content.decode()
    assert "<script>alert(1)" not in page and "<img src=x>" not in page
    assert '<p class="text" dir="auto">&lt;script&gt;' in page and '<div class="text" dir="auto">&lt;img' in page


def test_a_report_of_either_side_shows_who_is_the_student(people: People) -> None:
    browser = client_of(people.admin)
    mine, theirs = (
        say(people.conversation, people.student, "one")[0],
        say(people.conversation, people.teacher, "two")[0],
    )
    for user, message in ((people.student, theirs), (people.teacher, mine)):
        found, _ = report_message(user=user, message_id=message.pk, body={})
        page = browser.get(change_url(found)).content.decode()
        sides = re.findall(r'<li class="(\w+)(?: reported)?">.*?<p class="text" dir="auto">(\w+)</p>', page, re.DOTALL)
        assert sides == [("student", "one"), ("mentor", "two")]


def test_reports_outlive_the_people(people: People) -> None:
    found = reported(people)
    with transaction.atomic():
        people.student.delete()
    browser = client_of(people.admin)
    assert [row[3] for row in rows(browser, REPORTS)] == [f"#{found.reporter_id}"]
    assert "reported text" in browser.get(change_url(found)).content.decode()
    assert connection.vendor in {"postgresql", "sqlite"}
