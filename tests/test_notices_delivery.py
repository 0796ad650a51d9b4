"""How a push and an e-mail are delivered: what a service gets, what it may answer, and where nothing is sent to."""

import re
import socket
import threading
import time
from collections import Counter
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connections

from notices import push
from notices.encryption import encrypt
from notices.endpoints import EndpointNotAllowedError, addresses_of
from notices.looks import Channel
from notices.models import PushSubscription
from notices.push import Outcome
from notices.rounds import Rounds
from tests.mail_server import Mailbox
from tests.notices import MINUTE, emails, later, lead, run_round, sent, subscribe, subscriptions
from tests.people import People, say
from tests.push_service import HOST, SUBJECT, VAPID_PRIVATE_KEY, Browser, PushService, check_token, decode
from tests.servers import free_port

pytestmark = pytest.mark.usefixtures("notices_on")


@pytest.fixture
def phone(people: People, service: PushService) -> Browser:
    """A browser of the student's, to whom the teacher has written."""
    browser = Browser("phone")
    subscribe(people.student, browser)
    say(people.conversation, people.teacher, "a secret")
    later(2 * MINUTE)
    return browser


def test_encryption_is_as_in_the_example_of_rfc_8291() -> None:
    private = int.from_bytes(decode("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"))
    body = encrypt(
        b"When I grow up, I want to be a watermelon",
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "BTBZMqHH6r4Tts7J_aSIgg",
        key=ec.derive_private_key(private, ec.SECP256R1()),
        salt=decode("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert body == decode(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl"
        "7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


def test_a_service_gets_who_sends_how_long_it_may_wait_and_what_it_replaces(
    people: People, service: PushService, phone: Browser, settings: Any
) -> None:
    assert run_round() == sent(pushes=1)
    [push] = service.pushes
    key = check_token(push.headers["Authorization"], f"https://{HOST}", time.time())
    private = int.from_bytes(decode(VAPID_PRIVATE_KEY))
    numbers = ec.derive_private_key(private, ec.SECP256R1()).public_key().public_numbers()
    assert decode(key) == b"\4" + numbers.x.to_bytes(32) + numbers.y.to_bytes(32)
    assert push.path == "/send/phone"
    assert push.headers["Content-Encoding"] == "aes128gcm"
    assert 0 < int(push.headers["TTL"]) <= 24 * 3600
    assert re.fullmatch("[A-Za-z0-9_-]{1,32}", push.headers["Topic"])
    assert "Cookie" not in push.headers
    assert b"secret" not in push.body
    assert SUBJECT == settings.VAPID_SUBJECT


def test_a_topic_is_a_conversations_own(people: People, service: PushService, phone: Browser, settings: Any) -> None:
    settings.NOTIFY_AGAIN_AFTER = 0
    subscribe(people.other_student, Browser("other"))
    say(people.other_conversation, people.trainer, "one")
    later(2 * MINUTE)
    run_round()
    say(people.conversation, people.teacher, "two")
    later(2 * MINUTE)
    assert run_round() == sent(pushes=1)
    topics = [(push.path, push.headers["Topic"]) for push in service.pushes]
    assert len(topics) == 3
    assert len(set(topics)) == len({topic for _, topic in topics}) == 2


@pytest.mark.parametrize("status", [404, 410])
def test_a_browser_that_is_gone_is_forgotten(people: People, service: PushService, phone: Browser, status: int) -> None:
    other = Browser("other")
    subscribe(people.student, other)
    service.answer = lambda push: status if push.path == phone.path else 201
    assert run_round() == sent(pushes=1)
    assert subscriptions() == [(people.student.pk, "other")]


@pytest.mark.parametrize("status", [200, 201, 202])
def test_a_service_that_takes_a_push_is_not_asked_again(
    people: People, service: PushService, phone: Browser, status: int
) -> None:
    service.answer = lambda _: status
    assert [run_round(), run_round()] == [sent(pushes=1), sent()]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 403, 500])
def test_a_redirect_is_not_followed_and_nothing_is_sent_twice(
    people: People, service: PushService, phone: Browser, status: int
) -> None:
    service.answer, service.headers = lambda _: status, {"Location": Browser("elsewhere").endpoint}
    assert run_round() == sent(failed=1)
    later(10 * MINUTE)
    assert run_round() == sent()
    assert [push.path for push in service.pushes] == ["/send/phone"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_is_overloaded_gets_the_push_a_minute_later(
    people: People, service: PushService, phone: Browser, status: int
) -> None:
    service.answer = lambda _: status
    assert run_round() == sent(failed=1)
    service.answer = lambda _: 201
    later(MINUTE - 2)
    assert run_round() == sent()
    later(2)
    assert run_round() == sent(pushes=1)
    later(28 * MINUTE)
    assert run_round() == sent(e_mails=1)


def test_while_no_service_can_be_reached_e_mails_are_sent_and_the_push_when_it_is_back(
    people: People, service: PushService, phone: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(monkeypatch, free_port())
    later(30 * MINUTE)
    assert run_round() == sent(e_mails=1, failed=1)
    lead(monkeypatch, service.port)
    later(MINUTE)
    assert run_round() == sent(pushes=1)
    assert [message["count"] for message in service.to(phone)] == [1]


def test_what_could_not_be_sent_for_a_day_is_given_up(
    people: People, service: PushService, phone: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(monkeypatch, free_port())
    later(25 * 3600)
    assert run_round() == sent(e_mails=1, failed=1)
    lead(monkeypatch, service.port)
    later(10 * MINUTE)
    assert run_round() == sent()


def test_a_service_with_a_wrong_certificate_gets_nothing(
    people: People, service: PushService, phone: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    push._tls.cache_clear()
    assert run_round() == sent(failed=1)
    assert service.pushes == []


def test_an_endpoint_is_checked_again_when_something_is_sent(
    people: People, service: PushService, phone: Browser, settings: Any
) -> None:
    settings.PUSH_ALLOWED_HOSTS = ["elsewhere.example"]
    assert run_round() == sent(failed=1)
    assert service.pushes == []
    assert subscriptions() == []


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1", "224.0.0.1"),
    ],
)
def test_a_browsers_service_is_never_inside_our_network(
    monkeypatch: pytest.MonkeyPatch, settings: Any, address: str
) -> None:
    public = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("142.250.185.74", 443))
    inside = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))
    found = [public]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert addresses_of("fcm.googleapis.com") == [public]
    found = [public, inside]
    for host in ("fcm.googleapis.com", "web.push.apple.com"):
        with pytest.raises(EndpointNotAllowedError):
            addresses_of(host)
    assert addresses_of("push.school.example") == found  # the operator's own may be


def test_a_service_that_says_nothing_holds_nobody_up(
    people: People, service: PushService, phone: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "ANSWER_SECONDS", 0.3)
    quiet = threading.Event()
    service.answer = lambda _: quiet.wait(10) and 201
    begin = time.monotonic()
    assert run_round() == sent(failed=1)
    assert time.monotonic() - begin < 5
    quiet.set()


def test_a_service_that_answers_byte_by_byte_is_cut(
    people: People, phone: Browser, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "PUSH_SECONDS", 0.5)
    quiet = threading.Event()
    service.answer = lambda _: quiet.wait(10) and 201
    begin = time.monotonic()
    assert run_round() == sent(failed=1)
    assert time.monotonic() - begin < 4
    quiet.set()


@pytest.fixture
def letter(notices_on: None, people: People) -> None:
    """Something unread for half an hour."""
    say(people.conversation, people.teacher, "a secret")
    later(30 * MINUTE)


@pytest.mark.usefixtures("letter")
def test_an_e_mail_is_sent_by_smtp_with_the_one_click_link(people: People, mailbox: Mailbox) -> None:
    assert [run_round(), run_round()] == [sent(e_mails=1), sent()]
    [(receivers, text)] = mailbox.got
    assert receivers == ["student@example.com"]
    assert "Subject: 1 new message from Teacher\r\n" in text
    assert "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in text
    assert "secret" not in text


@pytest.mark.usefixtures("letter")
def test_a_mail_server_that_is_busy_gets_the_e_mail_later(people: People, mailbox: Mailbox) -> None:
    mailbox.answer = "451 Try again"
    assert run_round() == sent(failed=1)
    mailbox.answer = "250 OK"
    assert run_round() == sent()
    later(MINUTE)
    assert run_round() == sent(e_mails=1)
    assert len(mailbox.got) == 1


@pytest.mark.usefixtures("letter")
def test_a_receiver_who_is_refused_for_now_gets_the_e_mail_later_and_holds_up_nobody(
    people: People,
    mailbox: Mailbox,
) -> None:
    say(people.other_conversation, people.trainer, "one")
    later(30 * MINUTE)
    mailbox.refused["student@example.com"] = "450 Greylisted"
    assert run_round() == sent(e_mails=1, failed=1)
    assert [to for to, _ in mailbox.got] == [["other_student@example.com"]]
    mailbox.refused.clear()
    later(MINUTE)
    assert run_round() == sent(e_mails=1)
    assert [to for to, _ in mailbox.got[1:]] == [["student@example.com"]]


@pytest.mark.usefixtures("letter")
def test_a_receiver_who_is_refused_for_ever_is_not_asked_again(people: People, mailbox: Mailbox) -> None:
    mailbox.refused["student@example.com"] = "550 No such mailbox"
    assert run_round() == sent(failed=1)
    mailbox.refused.clear()
    later(10 * MINUTE)
    assert run_round() == sent()


@pytest.mark.usefixtures("letter")
def test_an_e_mail_that_is_refused_is_not_sent_again(people: People, mailbox: Mailbox) -> None:
    mailbox.answer = "550 No such mailbox"
    assert run_round() == sent(failed=1)
    mailbox.answer = "250 OK"
    later(10 * MINUTE)
    assert run_round() == sent()


@pytest.mark.usefixtures("letter")
def test_while_no_mail_server_can_be_reached_nothing_is_lost(people: People, mailbox: Mailbox, settings: Any) -> None:
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, free_port()
    say(people.other_conversation, people.trainer, "one")
    later(30 * MINUTE)
    assert run_round() == sent(failed=2)
    settings.EMAIL_PORT = port
    later(MINUTE)
    assert run_round() == sent(e_mails=2)


def test_one_address_that_no_e_mail_can_have_stops_no_others(people: People, settings: Any, lines: Any) -> None:
    for conversation, sender in (
        (people.conversation, people.teacher),
        (people.other_conversation, people.trainer),
    ):
        say(conversation, sender, "one")
    people.student.email = "a@example.com\nBcc: b@example.com"
    people.student.save()
    later(30 * MINUTE)
    assert run_round() == sent(e_mails=1, failed=1)
    assert [to for to, _ in emails()] == ["other_student@example.com"]
    assert "b@example.com" not in str([line["event"] for line in lines()])


def test_two_at_once_share_the_work_and_send_nothing_twice(
    live_people: People, service: PushService, settings: Any
) -> None:
    browsers = [Browser(f"b{n}") for n in range(12)]
    for number, browser in enumerate(browsers):
        user = live_people.student if number % 2 else live_people.other_student
        subscribe(user, browser)
    say(live_people.conversation, live_people.teacher, "one")
    say(live_people.other_conversation, live_people.trainer, "one")
    later(2 * MINUTE)
    sums: list[Counter[Any]] = []
    together = threading.Barrier(2)

    def work() -> None:
        together.wait()
        rounds = Rounds(threading.Event())
        sums.append(rounds.run())
        rounds.close()
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(sums, Counter()) == {(Channel.PUSH, Outcome.SENT): 2}
    assert sorted(push.path for push in service.pushes) == sorted(browser.path for browser in browsers)
    assert PushSubscription.objects.count() == 12
