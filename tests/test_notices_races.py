"""What others do while a notice is being sent: a second process, and the reader."""

import pytest

from chat.store.batch import store
from notices.looks import Channel, look_at, plan
from notices.models import Side
from notices.sending import settle
from notices.start import started_at
from tests.notices import HOUR, MINUTE, later, run_round, sent, subscribe
from tests.people import People
from tests.push_service import Browser, PushService
from tests.service_results import entry

pytestmark = pytest.mark.usefixtures("notices_on")


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
