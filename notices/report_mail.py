"""Tells the leads by e-mail that messages were reported: how many, and a link to the queue; no name and no text."""

import logging
from collections import Counter
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext, ngettext

from accounts.models import User
from chat.groups import LEADS_GROUP
from chat.moderation.reports_to_tell import finish_telling, keep_reports, note_told, take_reports, untold
from notices import metrics
from notices.looks import Channel
from notices.mail import MailSender
from notices.push import Outcome

logger = logging.getLogger(__name__)


class ReportMail:
    """Sends the e-mails about reports."""

    def __init__(self, mail: MailSender) -> None:
        self._mail = mail

    def tell_leads(self) -> Counter[tuple[Channel, Outcome]]:
        """Send each lead one e-mail about all reports that they were not told of.

        Whom the mail server takes no e-mail for now is told in a later round; the same holds if no lead was reached at
        all. A process that is killed between an e-mail and the note of it has this one sent again.
        """
        sums: Counter[tuple[Channel, Outcome]] = Counter()
        people = list(leads()) if settings.EMAIL_URL else []
        ids = take_reports() if people else []
        for person in people if ids else ():
            keep_reports(ids)
            if owed := untold(ids, person.pk):
                outcome = self._tell(person, len(owed))
                sums[Channel.EMAIL, outcome] += 1
                if outcome is Outcome.SENT:
                    note_told(owed, person.pk)
        if ids and (Channel.EMAIL, Outcome.NOT_SENT) not in sums:
            finish_telling(ids)
        return sums

    def _tell(self, person: User, count: int) -> Outcome:
        try:
            outcome = self._mail.deliver(person.pk, lambda connection: compose(person, count, connection))
        except Exception:  # such as an address that no e-mail can have: the others are told all the same
            logger.exception("an e-mail about reports to user %s failed", person.pk)
            outcome = Outcome.FAILED
        metrics.NOTICES.labels(Channel.EMAIL.value, outcome.value).inc()
        return outcome


def leads() -> QuerySet[User]:
    """Return the leads who can be written to."""
    rows = User.objects.filter(groups__name=LEADS_GROUP, is_active=True).exclude(email="")
    return rows.select_related("profile").order_by("pk")


def compose(person: User, count: int, connection: Any = None) -> EmailMessage:
    """Return the e-mail about so many reports, in the language of this person."""
    profile = getattr(person, "profile", None)
    with translation.override((profile and profile.language) or settings.LANGUAGE_CODE):
        subject = ngettext("{count} message was reported", "{count} messages were reported", count).format(count=count)
        text = f"{subject}.\n\n{gettext('Open the queue of reports')}:\n{link()}\n"
    headers = {"Auto-Submitted": "auto-generated"}
    return EmailMessage(subject, text, to=[person.email], headers=headers, connection=connection)


def link() -> str:
    """Return the address of the open reports in the admin."""
    return f"{settings.BACKEND_URL}{reverse('admin:chat_report_changelist')}"
