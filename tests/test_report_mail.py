"""The leads are told by e-mail that messages were reported, by a round of `manage.py notify_unread`."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Report, ReportState
from chat.moderation.reports import handle_report, report_message
from chat.moderation.reports_to_tell import take_reports
from notices import rounds
from tests.mail_server import Mailbox
from tests.notices import HOUR, MINUTE, SITE, later, run_round, sent
from tests.people import People, make_user, say

pytestmark = pytest.mark.usefixtures("notices_on")

QUEUE = f"{SITE}/admin/chat/report/"


@pytest.fixture
def leads(people: People) -> list[User]:
    """Two leads, one of whom reads Arabic; a third one is not active any more, and a fourth has no address.

    The student wants no notices.
    """
    UserProfile.objects.filter(user=people.student).update(notify_email=False)
    found = [make_user(f"lead{number}", RoleChoices.ADMIN) for number in range(4)]
    Group.objects.get(name="leads").user_set.add(*found)
    UserProfile.objects.filter(user=found[1]).update(language="ar")
    User.objects.filter(pk=found[2].pk).update(is_active=False)
    User.objects.filter(pk=found[3].pk).update(email="")
    return found[:2]


def reported(people: People, count: int) -> None:
    for message in say(people.conversation, people.teacher, *["a secret"] * count):
        report_message(user=people.student, message_id=message.pk, body={"reason": "a secret, too"})


def mails() -> list[tuple[str, str, list[str]]]:
    found = [(str(message.subject), str(message.body), message.to) for message in mail.outbox if QUEUE in message.body]
    mail.outbox.clear()
    return found


def test_each_lead_gets_one_e_mail_about_all_new_reports(people: People, leads: list[User]) -> None:
    reported(people, 2)
    assert run_round() == sent(e_mails=2)
    english, arabic = mails()
    text = f"2 messages were reported.\n\nOpen the queue of reports:\n{QUEUE}\n"
    assert english == ("2 messages were reported", text, ["lead0@example.com"])
    assert arabic[0] == "أُبلغ عن رسالتين" and arabic[2] == ["lead1@example.com"]
    assert run_round() == sent()
    reported(people, 1)
    assert run_round() == sent(e_mails=2)
    assert [subject for subject, *_ in mails()] == ["1 message was reported", "أُبلغ عن رسالة واحدة"]


def test_without_leads_nobody_is_told_until_there_are_some(people: People) -> None:
    reported(people, 1)
    assert run_round() == sent()
    lead = make_user("lead", RoleChoices.ADMIN)
    Group.objects.get(name="leads").user_set.add(lead)
    assert run_round() == sent(e_mails=1)
    assert [to for *_, to in mails()] == [["lead@example.com"]]


def test_only_open_reports_are_told(people: People, leads: list[User]) -> None:
    reported(people, 2)
    handle_report(Report.objects.order_by("pk")[0], by=people.admin, state=ReportState.HANDLING)
    assert run_round() == sent(e_mails=2)
    assert [subject for subject, *_ in mails()] == ["1 message was reported", "أُبلغ عن رسالة واحدة"]


def test_two_at_once_tell_of_different_reports_and_a_killed_one_leaves_them_to_others(
    people: People, leads: list[User]
) -> None:
    reported(people, 2)
    assert len(take_reports()) == 2  # whoever took them is killed now
    assert run_round() == sent()
    later(2 * MINUTE)
    assert run_round() == sent(e_mails=2)
    later(HOUR)
    assert run_round() == sent()


def test_what_the_mail_server_does_not_take_is_told_later(
    people: People, leads: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported(people, 1)

    def refuse(_: EmailBackend) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as away:
        away.setattr(EmailBackend, "open", refuse, raising=False)
        assert run_round() == sent(failed=2)
    assert run_round() == sent()
    later(2 * MINUTE)
    assert run_round() == sent(e_mails=2)


def test_a_lead_who_is_refused_for_now_is_told_later_and_the_others_once(
    people: People, leads: list[User], mailbox: Mailbox
) -> None:
    reported(people, 1)
    mailbox.refused["lead0@example.com"] = "450 Greylisted"
    assert run_round() == sent(e_mails=1, failed=1)
    mailbox.refused.clear()
    reported(people, 1)
    later(2 * MINUTE)
    assert run_round() == sent(e_mails=2)
    later(HOUR)
    assert run_round() == sent()
    subjects = [(to, text.partition("Subject: ")[2][:12]) for to, text in mailbox.got]
    assert subjects[1:] == [(["lead0@example.com"], "2 messages w"), (["lead1@example.com"], subjects[0][1])]
    assert subjects[0][0] == ["lead1@example.com"]


def test_a_report_that_reached_no_lead_is_told_until_one_is_reached(
    people: People, leads: list[User], mailbox: Mailbox
) -> None:
    reported(people, 1)
    mailbox.refused |= {f"lead{number}@example.com": "550 No such mailbox" for number in range(2)}
    assert run_round() == sent(failed=2)
    del mailbox.refused["lead1@example.com"]
    later(2 * MINUTE)
    assert run_round() == sent(e_mails=1, failed=1)
    later(HOUR)
    assert run_round() == sent()


def test_leads_do_not_wait_until_everybody_else_was_told(
    people: People, leads: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    UserProfile.objects.filter(user=people.student).update(notify_email=True)
    for conversation, sender in ((people.conversation, people.teacher), (people.other_conversation, people.trainer)):
        say(conversation, sender, "one")
    later(HOUR)
    monkeypatch.setattr(rounds, "LEADS_SECONDS", 0)
    send = EmailBackend.send_messages

    def report_meanwhile(backend: EmailBackend, messages: Any) -> int:
        if not mail.outbox:
            reported(people, 1)
        return send(backend, messages)

    monkeypatch.setattr(EmailBackend, "send_messages", report_meanwhile)
    assert run_round() == sent(e_mails=4)
    assert [message.to[0].partition("@")[0] for message in mail.outbox][1:3] == ["lead0", "lead1"]


def test_without_a_mail_server_they_wait(people: People, leads: list[User], settings: Any) -> None:
    url, settings.EMAIL_URL = settings.EMAIL_URL, ""
    reported(people, 1)
    assert run_round() == sent()
    settings.EMAIL_URL = url
    assert run_round() == sent(e_mails=2)
