"""Conversations and messages: the tables, and the queries on them.

`seq` numbers the messages of a conversation 1, 2, 3, ... and is handed out under the conversation's row lock, so the
order of `seq` is the order of the commits. Order, gaps, pages and resuming all depend on this one integer.

Times come from the database's clock, which is one for all processes. Those of a conversation never go back, even where
that clock does, as after a fail-over: `updated_at` is never before its newest message.
"""

from datetime import datetime
from typing import Any, Self, cast

from django.conf import settings
from django.db import models, transaction
from django.db.models import Case, Count, F, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce, Greatest, Now
from django.utils.translation import gettext_lazy as _

from accounts.models import MENTOR_ROLES, RoleChoices, User, UserProfile
from accounts.names import search_text
from chat.models.answer import Answer
from chat.models.notice_times import notice_delay

# Conversations in which somebody could answer: `Conversation.is_answerable`, for queries.
ANSWERABLE = Q(
    student__role=RoleChoices.STUDENT,
    teacher__role__in=MENTOR_ROLES,
    student__assigned_mentor=F("teacher"),
    is_locked=False,
)


class ConversationQuerySet(models.QuerySet["Conversation"]):
    """Queries on conversations."""

    def for_user(self, user: User) -> Self:
        """Those in which `user` is a participant in their present role. All others are not found."""
        return self.filter(
            Q(student__user=user, student__role=RoleChoices.STUDENT)
            | Q(teacher__user=user, teacher__role__in=MENTOR_ROLES)
        )

    def with_profiles(self) -> Self:
        """Each with its two profiles, which decide who may do what."""
        return self.select_related("student", "teacher")

    def with_people(self) -> Self:
        """Each with its two profiles and their users, as the objects on the wire need them."""
        return self.select_related("student__user", "teacher__user")

    def waiting(self) -> Self:
        """Those in which the student waits for an answer, and somebody could give it."""
        return self.filter(ANSWERABLE, waiting_since__isnull=False)

    def not_waiting(self) -> Self:
        """The others."""
        return self.exclude(ANSWERABLE, waiting_since__isnull=False)

    def with_waits_since(self) -> Self:
        """Each with `waits_since`, which is `shown_waiting_since` in the database."""
        return self.annotate(waits_since=Case(When(ANSWERABLE, then="waiting_since")))

    def with_overview(self, reader: User) -> Self:
        """Each with `last_message_id` and with `unread_count`, the number of messages that `reader` has not read.

        `reader` must be a student or mentor, and a participant of the conversations.
        """
        messages = Message.objects.filter(conversation=OuterRef("pk")).order_by()
        # Not `~Q(sender=reader)`: the index finds the unread messages of one sender without reading those of the other.
        other = "teacher__user" if reader.profile.is_student else "student__user"
        unread = (
            messages.filter(is_read=False, sender=OuterRef(other))
            .values("conversation")
            .annotate(count=Count("pk"))
            .values("count")
        )
        return self.annotate(
            last_message_id=Subquery(messages.order_by("-seq").values("pk")[:1]),
            unread_count=Coalesce(Subquery(unread), 0),
        )


class Conversation(models.Model):
    """The conversation of a student and one mentor; there is one for each such pair, and it is never replaced."""

    student = models.ForeignKey(
        UserProfile, models.CASCADE, related_name="conversations_as_student", db_index=False, verbose_name=_("student")
    )
    teacher = models.ForeignKey(
        UserProfile, models.CASCADE, related_name="conversations_as_teacher", db_index=False, verbose_name=_("teacher")
    )
    created_at = models.DateTimeField(_("created at"), default=Now, editable=False)
    updated_at = models.DateTimeField(_("last activity"), default=Now, editable=False)
    last_seq = models.PositiveBigIntegerField(default=0, editable=False)
    # How far each participant has read: the other one's messages up to this seq have is_read. These seqs only grow.
    student_read_seq = models.PositiveBigIntegerField(default=0, editable=False)
    teacher_read_seq = models.PositiveBigIntegerField(default=0, editable=False)
    is_locked = models.BooleanField(_("locked"), default=False, db_default=False, editable=False)
    # The time of the student's first message above `answered_seq`, null if there is none. It stays while nobody could
    # answer, as after a change of mentor: `shown_waiting_since` and `waits_since` are what anybody is shown.
    waiting_since = models.DateTimeField(_("waiting since"), null=True, editable=False)
    # The seq of the mentor's last message, or of the last one for which they said that it needs no reply.
    answered_seq = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    # When `manage.py notify_unread` looks at what each participant has not read; null: there is nothing to look at.
    student_notify_at = models.DateTimeField(null=True, editable=False)
    teacher_notify_at = models.DateTimeField(null=True, editable=False)

    objects = ConversationQuerySet.as_manager()

    NOTICE_TIMES = ("student_notify_at", "teacher_notify_at")
    # What a new message changes, beside `last_seq`.
    SET_BY_MESSAGES = ("updated_at", "waiting_since", "answered_seq", *NOTICE_TIMES)
    COUNTERS = frozenset({"last_seq", "student_read_seq", "teacher_read_seq", "is_locked", *SET_BY_MESSAGES})

    class Meta:
        verbose_name = _("conversation")
        verbose_name_plural = _("conversations")
        permissions = [("export_conversation", "Can export conversations and people")]
        constraints = [models.UniqueConstraint(fields=["student", "teacher"], name="chat_conversation_pair")]
        indexes = [
            models.Index("teacher", F("updated_at").desc(), F("id").desc(), name="chat_conversation_inbox"),
            models.Index(
                fields=["teacher", "waiting_since"],
                condition=Q(waiting_since__isnull=False),
                name="chat_conversation_waiting",
            ),
            models.Index(
                fields=["student_notify_at"],
                condition=Q(student_notify_at__isnull=False),
                name="chat_student_notify_at",
            ),
            models.Index(
                fields=["teacher_notify_at"],
                condition=Q(teacher_notify_at__isnull=False),
                name="chat_teacher_notify_at",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, except the counters and the lock: others change them meanwhile, and this instance may be stale."""
        adding = self._state.adding
        if not adding and kwargs.get("update_fields") is None:
            fields = (field.name for field in self._meta.concrete_fields if not field.primary_key)
            kwargs["update_fields"] = [name for name in fields if name not in self.COUNTERS]
        super().save(*args, **kwargs)
        if adding:
            self.refresh_from_db(fields=["created_at", "updated_at"])  # as the database has set them

    @classmethod
    def get_or_create_conversation(
        cls, student_profile: UserProfile, teacher_profile: UserProfile
    ) -> tuple["Conversation", bool]:
        """Return the pair's one conversation and whether it was just created; safe for concurrent calls."""
        return cls.objects.with_people().get_or_create(student=student_profile, teacher=teacher_profile)

    @property
    def is_active(self) -> bool:
        """Whether this teacher is still the student's mentor. Messages stay readable after that."""
        return self.student.is_student and self.teacher.is_mentor and self.student.assigned_mentor_id == self.teacher_id

    def person(self, user_id: int) -> UserProfile | None:
        """The profile of this user if the conversation is theirs, in whatever role they are now."""
        return next((profile for profile in (self.student, self.teacher) if profile.user_id == user_id), None)

    @property
    def is_answerable(self) -> bool:
        """Whether somebody could answer here; the same as `ANSWERABLE`."""
        return self.is_active and not self.is_locked

    @property
    def shown_waiting_since(self) -> datetime | None:
        """Since when the student has waited for an answer; None if they do not, or if nobody could answer."""
        return self.waiting_since if self.is_answerable else None

    def note_message(self, sender_id: int, seq: int, at: datetime) -> Answer | None:
        """Set who waits after a new message, as the writer's statement does; the caller saves the row.

        Returns the row to be stored if it is a mentor's first answer. A question that is stored in the same moment is
        not what they answer.
        """
        if sender_id == self.teacher.user_id:
            since, self.waiting_since, self.answered_seq = self.waiting_since, None, seq
            if since is not None and since < at:
                return Answer(conversation=self, waited_from=since, mentor_id=self.teacher_id, answered_at=at)
        elif sender_id == self.student.user_id and self.waiting_since is None:
            self.waiting_since = at
        return None

    def note_unread(self, sender_id: int, at: datetime) -> None:
        """Have a notice of a new message of this time looked at in time, as the writer's statement does.

        The caller saves the row.
        """
        delay = notice_delay()
        if delay is None:
            return
        if sender_id == self.teacher.user_id:
            self.student_notify_at = min(self.student_notify_at or at + delay, at + delay)
        elif sender_id == self.student.user_id:
            self.teacher_notify_at = min(self.teacher_notify_at or at + delay, at + delay)

    def member(self, user_id: int) -> UserProfile | None:
        """The profile of a participant who still has their role in this conversation; None for all other users."""
        if user_id == self.student.user_id and self.student.is_student:
            return self.student
        if user_id == self.teacher.user_id and self.teacher.is_mentor:
            return self.teacher
        return None

    def unread_by(self, user_id: int) -> "MessageQuerySet":
        """The messages of the other participant that this one has not read."""
        others = self.teacher.user_id if user_id == self.student.user_id else self.student.user_id
        return self.messages.filter(is_read=False, sender_id=others)

    def read_field(self, user_id: int) -> str:
        """The name of the field that holds how far this participant has read."""
        return "student_read_seq" if user_id == self.student.user_id else "teacher_read_seq"


class MessageQuerySet(models.QuerySet["Message"]):
    """Queries on messages."""

    def with_sender(self) -> Self:
        """Each with its sender and the sender's profile loaded."""
        return self.select_related("sender__profile")


AllMessages = models.Manager.from_queryset(MessageQuerySet)


class MessageManager(AllMessages["Message"]):
    """Messages without what only searches read."""

    def get_queryset(self) -> MessageQuerySet:
        """Return all messages; `search_text` is as long as the text, and is not loaded."""
        return cast(MessageQuerySet, super().get_queryset().defer("search_text"))


class Message(models.Model):
    """A message of a conversation. It never changes, except that it becomes read, or is erased with its sender."""

    conversation = models.ForeignKey(
        Conversation, models.CASCADE, related_name="messages", db_index=False, verbose_name=_("conversation")
    )
    sender = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False, verbose_name=_("sender")
    )
    content = models.TextField(_("content"))
    timestamp = models.DateTimeField(_("sent at"), default=Now)
    is_read = models.BooleanField(_("read"), default=False)
    seq = models.PositiveBigIntegerField(_("number"), editable=False)
    client_id = models.CharField(max_length=64, null=True, blank=True, editable=False)  # noqa: DJ001 - nulls never clash
    is_erased = models.BooleanField(_("erased"), default=False, db_default=False, editable=False)  # without its text
    # What searches compare, see `accounts.names.search_text`. Null: not filled yet, see `manage.py fold_search_texts`.
    search_text = models.TextField(null=True, blank=True, editable=False)  # noqa: DJ001

    objects = MessageManager()

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = [
            # Serves every query by conversation, so the foreign key needs no index of its own.
            models.UniqueConstraint(fields=["conversation", "seq"], name="chat_message_seq"),
            # Keeps a repeated client_id from being stored twice; also serves queries by sender.
            models.UniqueConstraint(fields=["sender", "conversation", "client_id"], name="chat_message_client_id"),
        ]
        indexes = [
            models.Index(
                fields=["conversation", "sender", "seq"], condition=Q(is_read=False), name="chat_message_unread"
            ),
            models.Index(fields=["id"], condition=Q(search_text=None), name="chat_message_unfolded"),
        ]

    def __str__(self) -> str:
        return f"#{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new message without a `seq` gets the next one of its conversation, and the time unless it has one."""
        if not self._state.adding or self.seq is not None:
            return super().save(*args, **kwargs)
        self.search_text = search_text(self.content)
        with transaction.atomic():
            self.seq, self.timestamp = take_seq(self.conversation_id, self.sender_id, self.timestamp)
            super().save(*args, **kwargs)


class LastSeen(models.Model):
    """When a user's last socket was closed; one row per user who ever had a socket."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+", verbose_name=_("user")
    )
    at = models.DateTimeField(_("last seen"))

    class Meta:
        verbose_name = _("last seen")
        verbose_name_plural = _("last seen")

    def __str__(self) -> str:
        return f"#{self.pk}"


def take_seq(conversation_id: int, sender_id: int, at: datetime | Now) -> tuple[int, datetime]:
    """Reserve the next seq of a conversation for a message; return it and the message's time: `at`, or the present.

    Locks the row, so it needs a transaction. Also sets what else the message changes in it: the time, who waits, and
    when a notice is looked at.
    """
    rows = Conversation.objects.with_profiles().select_for_update(of=("self",), no_key=True)
    row: Any = rows.annotate(present=Greatest("updated_at", at)).get(pk=conversation_id)
    row.last_seq, row.updated_at = row.last_seq + 1, row.present
    sent_at = row.present if isinstance(at, Now) else at
    answer = row.note_message(sender_id, row.last_seq, sent_at)
    row.note_unread(sender_id, sent_at)
    changed = ("last_seq", *Conversation.SET_BY_MESSAGES)
    Conversation.objects.filter(pk=row.pk).update(**{name: getattr(row, name) for name in changed})
    if answer is not None:
        Answer.objects.bulk_create([answer], ignore_conflicts=True)
    return row.last_seq, sent_at
