"""The leads are told by e-mail that messages were reported, by a round of `manage.py notify_unread`."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend

from accounts.models import RoleChoices, User, UserProfile
from chat.models import Report
from chat.moderation.reports import report_message
from tests.notices import SITE, run_round, sent
from tests.people import People, make_user, say

pytestmark = pytest.mark.usefixtures("notices_on")

QUEUE = f"{SITE}/admin/chat/report/"


@pytest.fixture
def leads(people: People) -> list[User]:
    """Two leads, one of whom reads Arabic; a third one is not active any more, and a fourth has no address."""
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


def test_what_the_mail_server_does_not_take_is_told_later(
    people: People, leads: list[User], monkeypatch: pytest.MonkeyPatch
) -> None:
    reported(people, 1)

    def refuse(_: EmailBackend) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as away:
        away.setattr(EmailBackend, "open", refuse, raising=False)
        assert run_round() == sent(failed=2)
        assert Report.objects.get().told_at is None
    assert run_round() == sent(e_mails=2)


def test_without_a_mail_server_they_wait(people: People, leads: list[User], settings: Any) -> None:
    settings.EMAIL_URL = ""
    reported(people, 1)
    assert run_round() == sent()
    assert Report.objects.get().told_at is None
