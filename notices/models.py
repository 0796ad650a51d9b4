"""The tables of the notices: browsers that take pushes, what everybody was told of, and since when notices are on.

The foreign keys have no constraint in the database: a process of the version before deletes what they point to without
knowing these tables. A row whose target is gone is never found, because every query joins the target.
"""

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from chat.models import Conversation

MAX_BYTES = 2048  # of a subscription; an index of PostgreSQL takes 2,700


class PushSubscription(models.Model):
    """A browser that takes pushes for a person, until the session ends in which it was told to."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, db_constraint=False, related_name="+", verbose_name=_("user")
    )
    session = models.ForeignKey(Session, models.CASCADE, db_constraint=False, related_name="+")
    endpoint = models.CharField(max_length=MAX_BYTES)
    p256dh = models.CharField(max_length=88)
    auth = models.CharField(max_length=24)
    saved_at = models.DateTimeField(_("saved at"), default=Now)

    class Meta:
        verbose_name = _("push subscription")
        verbose_name_plural = _("push subscriptions")
        constraints = [models.UniqueConstraint(fields=["endpoint"], name="notices_subscription_endpoint")]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Side(models.TextChoices):
    """Which participant of a conversation is told."""

    STUDENT = "student", _("Student")
    TEACHER = "teacher", _("Teacher")


class Notice(models.Model):
    """What one participant of a conversation was told of, over each channel.

    `*_seq`: messages up to this one are never a reason for another notice. `*_read_seq`: how far the reader had read
    when something was sent last. `*_at`: from when the next one counts `NOTIFY_AGAIN_AFTER`. `push_owed`: the
    subscriptions that the last push could not be sent to while others got it, and how far the reader had read:
    `{"read_seq", "subscriptions"}`.
    """

    conversation = models.ForeignKey(Conversation, models.CASCADE, db_constraint=False, related_name="notices")
    side = models.CharField(max_length=7, choices=Side.choices)
    push_seq = models.PositiveBigIntegerField(default=0)
    push_read_seq = models.PositiveBigIntegerField(null=True)
    push_at = models.DateTimeField(null=True)
    push_owed = models.JSONField(null=True)
    email_seq = models.PositiveBigIntegerField(default=0)
    email_read_seq = models.PositiveBigIntegerField(null=True)
    email_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = _("notice")
        verbose_name_plural = _("notices")
        constraints = [models.UniqueConstraint(fields=["conversation", "side"], name="notices_notice_side")]

    def __str__(self) -> str:
        return f"#{self.pk}"


class Start(models.Model):
    """When notices were switched on; a row, or none while they are off."""

    at = models.DateTimeField()

    class Meta:
        verbose_name = _("start of the notices")
        verbose_name_plural = _("start of the notices")

    def __str__(self) -> str:
        return f"#{self.pk}"
