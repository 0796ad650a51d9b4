"""Who mentored whom and when, and the notes that are handed to the next mentor."""

from django.conf import settings
from django.core.validators import MaxLengthValidator, ProhibitNullCharactersValidator
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.models import UserProfile

MAX_NOTE_LENGTH = 4000  # code points


class Assignment(models.Model):
    """A change of a student's mentor: from `former` to `mentor`, either of them None, made by the user `by`.

    Rows are only added. `by` is None where a program or the shell made the change.

    The keys have no constraint in the database: a process of the version before deletes people without knowing this
    table. A row whose student is gone is never found.
    """

    student = models.ForeignKey(
        UserProfile, models.CASCADE, db_constraint=False, related_name="+", verbose_name=_("student")
    )
    former = models.ForeignKey(
        UserProfile,
        models.SET_NULL,
        null=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("former mentor"),
    )
    mentor = models.ForeignKey(
        UserProfile, models.SET_NULL, null=True, db_constraint=False, related_name="+", verbose_name=_("mentor")
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("changed by"),
    )
    created_at = models.DateTimeField(_("changed at"), default=Now, db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("mentor assignment")
        verbose_name_plural = _("mentor assignments")
        default_permissions = ("view",)
        permissions = [
            ("reassign_mentor", "Can give students another mentor"),
            ("lock_people", "Can lock and unlock people"),
            ("lock_conversations", "Can lock and unlock conversations"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"


class HandoffNote(models.Model):
    """What the mentor of an assignment, and admins, are told about the student. It is in no answer to a student."""

    assignment = models.OneToOneField(
        Assignment, models.CASCADE, primary_key=True, related_name="note", verbose_name=_("mentor assignment")
    )
    text = models.TextField(
        _("hand-off note"), validators=[MaxLengthValidator(MAX_NOTE_LENGTH), ProhibitNullCharactersValidator()]
    )

    class Meta:
        verbose_name = _("hand-off note")
        verbose_name_plural = _("hand-off notes")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"#{self.pk}"
