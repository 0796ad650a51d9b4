"""The audit trail: who looked at, searched, exported and changed what."""

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class AuditAction(models.TextChoices):
    """What somebody did."""

    OPENED = "opened", _("opened")
    SEARCHED = "searched", _("searched")
    EXPORTED = "exported", _("exported")
    REASSIGNED = "reassigned", _("reassigned")
    LOCKED = "locked", _("locked")
    UNLOCKED = "unlocked", _("unlocked")
    ERASED = "erased", _("erased")
    PURGED = "purged", _("purged")
    REPORT_HANDLED = "report_handled", _("report handled")


class AuditEntry(models.Model):
    """An entry of the audit trail. PostgreSQL refuses to change or delete one.

    The ids are plain numbers of users and conversations, so that an entry outlives what it is about.
    """

    actor_id = models.BigIntegerField(_("who"), null=True, help_text=_("The user; empty for a command."))
    action = models.CharField(_("action"), max_length=20, choices=AuditAction.choices)
    conversation_id = models.BigIntegerField(_("conversation"), null=True)
    person_id = models.BigIntegerField(_("person"), null=True)
    detail = models.TextField(_("detail"), default="", db_default="")
    created_at = models.DateTimeField(_("when"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit trail")
        indexes = [
            models.Index(fields=["actor_id", "id"], name="chat_audit_actor"),
            models.Index(fields=["conversation_id", "id"], name="chat_audit_conversation"),
            models.Index(fields=["person_id", "id"], name="chat_audit_person"),
            models.Index(fields=["action", "id"], name="chat_audit_action"),
            models.Index(fields=["created_at"], name="chat_audit_created"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"
