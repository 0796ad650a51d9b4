"""Answers: how long students waited for their mentor. One row for each first answer, written with the message."""

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import UserProfile


class Answer(models.Model):
    """A mentor's first message after a student's: when the student began to wait, and when the mentor answered.

    A wait is answered once. Without references in the database: the release before this one deletes conversations and
    does not know this table.
    """

    pk = models.CompositePrimaryKey("conversation_id", "waited_from")
    conversation = models.ForeignKey(
        "chat.Conversation",
        models.CASCADE,
        related_name="answers",
        db_constraint=False,
        db_index=False,
        verbose_name=_("conversation"),
    )
    waited_from = models.DateTimeField(_("waited from"))
    mentor = models.ForeignKey(
        UserProfile,
        models.CASCADE,
        related_name="+",
        db_constraint=False,
        db_index=False,
        verbose_name=_("mentor"),
    )
    answered_at = models.DateTimeField(_("answered at"))

    class Meta:
        verbose_name = _("answer")
        verbose_name_plural = _("answers")
        indexes = [models.Index(fields=["mentor", "answered_at"], name="chat_answer_mentor")]

    def __str__(self) -> str:
        return f"#{self.conversation_id}"
