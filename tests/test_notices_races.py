"""What others do while a notice is being sent: a second process, and the reader."""

import pytest
from django.core import mail
from django.db import connection

from chat.models import Conversation, Message
from notices.looks import Channel, Look, look_at, plan
from notices.mail import MailSender
from notices.models import PushSubscription, Side
from notices.push import Outcome, PushSender
from notices.sending import Sender, settle
from notices.start import started_at
from tests.notices import HOUR, MINUTE, later, run_round, sent, subscribe
from tests.people import People
from tests.push_service import Browser, Push, PushService
from tests.service_results import entry, store

UNREAD = {"name": "Teacher", "count": 1}
pytestmark = pytest.mark.usefixtures("notices_on")


@pytest.fixture
def people(live_people: People) -> People:
    """What the writer stores is committed, and it sees only what is."""
    return live_people


def test_of_two_that_have_seen_the_same_one_sends(people: People, service: PushService) -> None:
    subscribe(people.teacher, Browser("laptop"))
    store([entry(people.conversation, people.student, "one")])
    later(30 * MINUTE)
    assert run_round() == sent(pushes=1, e_mails=1)
    later(HOUR)
    store([entry(people.conversation, people.student, "two")])
    later(5 * HOUR - 2)
    assert run_round() == sent()
    later(2)
    # Both channels are due now: the next look after the push would be due at the moment at which this one was.
    seen = [look_at([people.conversation.pk], Side.TEACHER, started_at()) for _ in range(2)]
    mine, others = ([plan(look, is_reading=False) for look in looks] for looks in seen)
    assert [one.channel for one in mine + others] == [Channel.PUSH] * 2
    assert (settle(mine), settle(others)) == (mine, [])


def test_what_was_read_meanwhile_is_not_told(people: People, service: PushService) -> None:
    subscribe(people.student, Browser("phone"))
    store([entry(people.conversation, people.teacher, "one")])
    later(30 * MINUTE)
    for channel in Channel:
        [mine] = settle([plan(look, is_reading=False) for look in look_at_student(people)])
        assert mine.channel is channel
        Message.objects.update(is_read=True)
        assert Sender(MailSender()).send(mine) is Outcome.READ
        Message.objects.update(is_read=False)
    assert (service.pushes, mail.outbox) == ([], [])


def look_at_student(people: People) -> list[Look]:
    return look_at([people.conversation.pk], Side.STUDENT, started_at())


def test_what_is_read_on_one_browser_is_not_pushed_to_the_next(live_people: People, service: PushService) -> None:
    for name in ("phone", "tablet"):
        subscribe(live_people.student, Browser(name))
    store([entry(live_people.conversation, live_people.teacher, "one")])
    later(2 * MINUTE)

    def read(_: Push) -> int:
        Message.objects.update(is_read=True)
        connection.close()
        return 201

    service.answer = read
    assert run_round() == sent(pushes=1)
    assert [push.path for push in service.pushes] == ["/send/phone"]


def test_a_browser_that_did_not_get_the_push_gets_it_later_and_the_others_not_again(
    people: People, service: PushService
) -> None:
    phone, tablet = Browser("phone"), Browser("tablet")
    for browser in (phone, tablet):
        subscribe(people.student, browser)
    store([entry(people.conversation, people.teacher, "one")])
    unread = UNREAD | {"conversation_id": people.conversation.pk}
    later(2 * MINUTE)
    service.answer = lambda push: 503 if push.path == tablet.path else 201
    assert run_round() == sent(failed=1)
    later(MINUTE)
    assert run_round() == sent(failed=1)
    service.answer = lambda _: 201
    store([entry(people.conversation, people.teacher, "two")])
    later(MINUTE)
    service.pushes.clear()
    assert run_round() == sent(pushes=1)
    assert (service.to(phone), service.to(tablet)) == ([], [unread | {"count": 2}])
    # The next one is for all, and so is one after something was read, even if the last had not reached all.
    Message.objects.update(is_read=True)
    Conversation.objects.update(student_read_seq=2)
    service.answer = lambda push: 503 if push.path == tablet.path else 201
    store([entry(people.conversation, people.teacher, "three")])
    later(2 * MINUTE)
    assert run_round() == sent(failed=1)
    Message.objects.update(is_read=True)
    Conversation.objects.update(student_read_seq=3)
    service.answer = lambda _: 201
    service.pushes.clear()
    store([entry(people.conversation, people.teacher, "four")])
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    assert (service.to(phone), service.to(tablet)) == ([unread], [unread])


@pytest.mark.parametrize(("status", "others"), [(429, Outcome.SENT), (503, Outcome.NOT_SENT)])
def test_a_browser_that_has_got_too_many_holds_up_no_other(
    people: People, service: PushService, status: int, others: Outcome
) -> None:
    phone, tablet = Browser("phone"), Browser("tablet")
    for browser in (phone, tablet):
        subscribe(people.student, browser)
    service.answer = lambda push: status if push.path == phone.path else 201
    sender, (first, second) = PushSender(), PushSubscription.objects.order_by("pk")
    outcomes = [sender.send(one, UNREAD, "topic") for one in (first, second, first)]
    assert outcomes == [Outcome.NOT_SENT, others, Outcome.NOT_SENT]
    assert [push.path for push in service.pushes].count(phone.path) == 1
