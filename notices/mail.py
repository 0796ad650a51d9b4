"""Sends an e-mail about unread messages: who wrote, how many, and a link; never what they wrote."""

import logging
import smtplib
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import ngettext

from notices.looks import Look
from notices.models import Side
from notices.push import PAUSE_SECONDS, Outcome
from notices.unsubscribe import unsubscribe_url

logger = logging.getLogger(__name__)


class MailSender:
    """Sends e-mails, one after the other. A server that cannot be reached is left alone for a minute."""

    def __init__(self) -> None:
        self._paused = 0.0  # until when

    def send(self, look: Look, count: int) -> Outcome:
        """Tell the reader of this look about so many unread messages."""
        return self.deliver(look.user_id, lambda connection: compose(look, count, connection))

    def deliver(self, user_id: int, make: Callable[[Any], EmailMessage]) -> Outcome:
        """Send this user the e-mail that `make` returns for a connection."""
        if self._paused > time.monotonic():
            return Outcome.NOT_SENT
        connection = get_connection()
        try:
            connection.open()
        except (OSError, smtplib.SMTPException) as error:
            return self._unreachable(error)
        try:
            make(connection).send()
        except smtplib.SMTPResponseException as error:
            return self._refused(error)
        except smtplib.SMTPRecipientsRefused as error:
            return _receiver_refused(user_id, [code for code, _ in error.recipients.values()])
        except (OSError, smtplib.SMTPException) as error:
            logger.warning("e-mail to user %s: %s", user_id, type(error).__name__)
            return Outcome.FAILED
        finally:
            connection.close()
        return Outcome.SENT

    def _unreachable(self, error: Exception) -> Outcome:
        logger.warning("the mail server cannot be reached: %s", type(error).__name__)
        self._paused = time.monotonic() + PAUSE_SECONDS
        return Outcome.NOT_SENT

    def _refused(self, error: smtplib.SMTPResponseException) -> Outcome:
        logger.warning("the mail server answered %s", error.smtp_code)
        if error.smtp_code >= 500:
            return Outcome.FAILED
        self._paused = time.monotonic() + PAUSE_SECONDS
        return Outcome.NOT_SENT


def _receiver_refused(user_id: int, codes: Sequence[int]) -> Outcome:
    """Return what became of an e-mail whose receiver was refused; the server may take those of others."""
    logger.warning("the mail server answered %s to the receiver, user %s", codes, user_id)
    is_for_now = all(code < 500 for code in codes)  # such as greylisting
    return Outcome.NOT_SENT if is_for_now else Outcome.FAILED


def compose(look: Look, count: int, connection: Any = None) -> EmailMultiAlternatives:
    """Return the e-mail, in the reader's language."""
    unsubscribe = unsubscribe_url(look.user_id)
    name = " ".join(look.other_name.split())
    with translation.override(look.language or settings.LANGUAGE_CODE):
        subject = ngettext("{count} new message from {name}", "{count} new messages from {name}", count)
        subject = subject.format(count=count, name=name)
        context = {"subject": subject, "link": link_to(look), "unsubscribe": unsubscribe}
        text = render_to_string("notices/email.txt", context)
        html = render_to_string("notices/email.html", context)
    headers = {
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": f"<{unsubscribe}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    message = EmailMultiAlternatives(subject, text, to=[look.email], headers=headers, connection=connection)
    message.attach_alternative(html, "text/html")
    return message


def link_to(look: Look) -> str:
    """Return the address of the conversation; a student's is the only one on the page."""
    place = f"/#/conversations/{look.conversation_id}" if look.side is Side.TEACHER else "/"
    return settings.FRONTEND_URL + place
