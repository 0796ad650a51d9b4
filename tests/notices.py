"""Helpers for the tests of notices: who is told of what, time that passes, a round of `manage.py notify_unread`."""

import io
import re
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.core.management import call_command
from django.db.models import DateTimeField, F

from accounts.models import User
from chat.models import Conversation, Message, Report
from notices import push
from notices.models import Notice, PushSubscription, Start
from notices.subscriptions import save_subscription
from tests.people import session_cookie
from tests.push_service import HOST, SUBJECT, VAPID_PRIVATE_KEY, Browser, PushService, push_service

MINUTE, HOUR = 60, 3600
SITE = "https://chat.school.example"


@pytest.fixture
def notices_on(settings: Any) -> None:
    """Both channels, and no night."""
    settings.VAPID_PRIVATE_KEY, settings.VAPID_SUBJECT = VAPID_PRIVATE_KEY, SUBJECT
    settings.PUSH_ALLOWED_HOSTS = [HOST]
    settings.EMAIL_URL = "smtp://mail.school.example"  # Django's test runner keeps e-mails in `mail.outbox`
    settings.DEFAULT_FROM_EMAIL = "Qader <chat@school.example>"
    settings.FRONTEND_URL = settings.BACKEND_URL = SITE
    settings.NOTIFY_QUIET_HOURS = None


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PushService]:
    """The push service, and a network in which its name leads to it."""
    with push_service(tmp_path) as running:
        monkeypatch.setenv("SSL_CERT_FILE", str(running.certificate))
        push._tls.cache_clear()
        lead(monkeypatch, running.port)
        yield running
    push._tls.cache_clear()


def lead(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Have the name of the push service lead to this port of the loopback."""
    real: Callable[..., Any] = socket.getaddrinfo

    def found(host: str, asked: Any, *args: Any, **kwargs: Any) -> Any:
        if host.endswith(HOST):
            assert asked == 443
            return real("127.0.0.1", port, *args, **kwargs)
        return real(host, asked, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", found)


def subscribe(user: User, browser: Browser, key: str | None = None) -> str:
    """Have this browser take pushes for the user, in this session or a new one; return the session's key."""
    key = key or session_cookie(user)
    keys = browser.subscription["keys"]
    save_subscription(user=user, session_key=key, endpoint=browser.endpoint, p256dh=keys["p256dh"], auth=keys["auth"])
    return key


def run_round() -> str:
    """Send what is due now; return what the command says."""
    told = io.StringIO()
    call_command("notify_unread", "--once", stdout=told)
    return told.getvalue().strip()


def later(seconds: float) -> None:
    """Let time pass: everything that is stored has happened so much earlier."""
    for model in (Message, Conversation, Notice, Report, Start):
        names = [field.name for field in model._meta.concrete_fields if isinstance(field, DateTimeField)]
        model._default_manager.update(**{name: F(name) - timedelta(seconds=seconds) for name in names})


def emails() -> list[tuple[str, str]]:
    """To whom e-mails were sent, and their subjects; takes them out of the box."""
    sent = [(message.to[0], str(message.subject)) for message in mail.outbox]
    mail.outbox.clear()
    return sent


def sent(pushes: int = 0, e_mails: int = 0, failed: int = 0) -> str:
    """What the command says."""
    return f"Sent {pushes} pushes and {e_mails} e-mails; {failed} could not be sent."


def notify_times(conversation: Conversation) -> tuple[Any, Any]:
    """When the student's side is looked at, and the teacher's."""
    return Conversation.objects.values_list(*Conversation.NOTICE_TIMES).get(pk=conversation.pk)


def subscriptions() -> list[tuple[int, str]]:
    """Whom each stored browser takes pushes for."""
    rows = PushSubscription.objects.order_by("pk").values_list("user", "endpoint")
    return [(user, re.sub(".*/", "", endpoint)) for user, endpoint in rows]
