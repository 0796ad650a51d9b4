"""Reports of messages, with copies of what was reported: they outlive the messages."""

from typing import Self

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

NEIGHBOURS = 5  # messages that are copied on each side of the reported one
MAX_REASON_LENGTH = 1000  # code points


class ReportState(models.TextChoices):
    """How far a report is."""

    OPEN = "open", _("open")
    HANDLING = "handling", _("being handled")
    CLOSED = "closed", _("closed")


class ReportOutcome(models.TextChoices):
    """What came of a report."""

    UNFOUNDED = "unfounded", _("unfounded")
    TALKED = "talked", _("talked with those involved")
    LOCKED = "locked", _("locked")
    REASSIGNED = "reassigned", _("mentor reassigned")
    PASSED_ON = "passed_on", _("passed on")


class ReportQuerySet(models.QuerySet["Report"]):
    """Queries on reports."""

    def unfinished(self) -> Self:
        """Those that are not closed."""
        return self.exclude(state=ReportState.CLOSED)


class Report(models.Model):
    """A participant's report of the other one's message. All ids are plain numbers: a report outlives what it is about.

    `tell_at` is when the leads are sent an e-mail about it, or the next one; null when they have got it.
    """

    message_id = models.BigIntegerField(_("message"), editable=False)
    conversation_id = models.BigIntegerField(_("conversation"), editable=False)
    reporter_id = models.BigIntegerField(_("reported by"), editable=False)
    sender_id = models.BigIntegerField(_("sender"), editable=False)
    reason = models.TextField(_("reason"), blank=True, default="", editable=False)
    state = models.CharField(
        _("state"), max_length=10, choices=ReportState.choices, default=ReportState.OPEN, db_default=ReportState.OPEN
    )
    outcome = models.CharField(
        _("outcome"), max_length=12, choices=ReportOutcome.choices, blank=True, default="", db_default=""
    )
    note = models.TextField(
        _("note"), blank=True, default="", db_default="", help_text=_("What was found and done; read by staff alone.")
    )
    handler_id = models.BigIntegerField(_("handled by"), null=True, editable=False)
    created_at = models.DateTimeField(_("reported at"), db_default=Now(), editable=False)
    closed_at = models.DateTimeField(_("closed at"), null=True, editable=False)
    tell_at = models.DateTimeField(null=True, db_default=Now(), editable=False)

    objects = ReportQuerySet.as_manager()

    class Meta:
        verbose_name = _("report")
        verbose_name_plural = _("reports")
        constraints = [
            models.UniqueConstraint(fields=["message_id", "reporter_id"], name="chat_report_once"),
            models.CheckConstraint(
                condition=Q(state="closed") & ~Q(outcome="") | ~Q(state="closed") & Q(outcome=""),
                name="chat_report_outcome",
                violation_error_message=_("A closed report has an outcome, and no other has one."),
            ),
        ]
        indexes = [
            models.Index("created_at", condition=~Q(state="closed"), name="chat_report_unfinished"),
            models.Index("tell_at", condition=Q(state="open", tell_at__isnull=False), name="chat_report_untold"),
            models.Index("reporter_id", F("created_at").desc(), name="chat_report_reporter"),
            models.Index(fields=["conversation_id"], name="chat_report_conversation"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class ReportedMessage(models.Model):
    """A copy of a reported message or of one of its neighbours, as it was when it was reported."""

    report = models.ForeignKey(Report, models.CASCADE, related_name="copies", db_index=False)
    message_id = models.BigIntegerField()
    sender_id = models.BigIntegerField()
    seq = models.BigIntegerField()
    content = models.TextField()
    timestamp = models.DateTimeField()

    class Meta:
        verbose_name = _("reported message")
        verbose_name_plural = _("reported messages")
        constraints = [models.UniqueConstraint(fields=["report", "seq"], name="chat_reportedmessage_seq")]
        indexes = [models.Index(fields=["sender_id"], name="chat_reportedmessage_sender")]

    def __str__(self) -> str:
        return f"#{self.message_id}"


class ToldLead(models.Model):
    """A lead who was sent the e-mail about a report."""

    report = models.ForeignKey(Report, models.CASCADE, related_name="told", db_index=False)
    user_id = models.BigIntegerField()

    class Meta:
        verbose_name = _("told lead")
        verbose_name_plural = _("told leads")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["report", "user_id"], name="chat_toldlead_once")]

    def __str__(self) -> str:
        return f"#{self.user_id}"
