"""Gives students another mentor: the old conversation becomes read-only, the new one exists, and history records it.

`reassign_mentor` does so, and every save of a profile whose mentor changed. The sockets and lists follow the events
that the saved rows send.
"""

import logging
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.db.models.signals import post_save, pre_save
from django.utils.translation import gettext_lazy as _

from accounts.models import User, UserProfile
from chat.bus.event_bus import publish
from chat.bus.events import AccessChanged
from chat.models import Assignment, AuditAction, Conversation, HandoffNote
from chat.moderation.audit import record
from chat.wire.moderation import HandoffNoteBody

logger = logging.getLogger(__name__)

MENTOR_FIELDS = {"assigned_mentor", "assigned_mentor_id"}
FORMER = "_former_mentor_id"  # on an instance that is being saved with another mentor


def connect() -> None:
    """Connect the receivers; called once, when the app is ready."""
    pre_save.connect(_before_save, sender=UserProfile)
    post_save.connect(_after_save, sender=UserProfile)


def reassign_mentor(
    student: UserProfile, mentor: UserProfile | None, *, by: User | None, note: str = ""
) -> Assignment | None:
    """Give a student this mentor, or none, in one transaction; return the record, or None if it is their mentor now.

    When this returns, no message can enter the old conversation any more, and the new one exists. `note` is for the new
    mentor and admins only. Raises ValidationError for a student who is none, a mentor who is no teacher or trainer,
    and a note that is too long.
    """
    with transaction.atomic():
        present = _lock(student.pk)
        new = UserProfile.objects.filter(pk=mentor.pk).first() if mentor else None
        if present is None or not present.is_student:
            raise ValidationError({"student": _("Only students have a mentor.")})
        if mentor is not None and (new is None or not new.is_mentor):
            raise ValidationError({"mentor": _("A mentor must be a teacher or a trainer.")})
        former_id, present.assigned_mentor, present.changed_by = present.assigned_mentor_id, new, by
        if former_id == present.assigned_mentor_id:
            return None
        UserProfile.objects.filter(pk=present.pk).update(assigned_mentor=new)
        _open_conversation(present)
        assignment = _record(present, former_id)
        if note:
            _add_note(assignment, note)
        transaction.on_commit(partial(publish, AccessChanged(present.user_id)), robust=True)
    student.assigned_mentor = new
    return assignment


def handoff_note(conversation: Conversation) -> HandoffNoteBody:
    """Return the note to this conversation's mentor of the time when they were last assigned, while they still are."""
    last = Assignment.objects.filter(student=conversation.student).select_related("note").order_by("-pk").first()
    note = getattr(last, "note", None)
    if last is None or note is None or last.mentor_id != conversation.teacher_id or not conversation.is_active:
        return HandoffNoteBody("", None)
    return HandoffNoteBody(note.text, last.created_at)


def _add_note(assignment: Assignment, text: str) -> None:
    note = HandoffNote(assignment=assignment, text=text)
    note.clean_fields()
    note.save(force_insert=True)


def _before_save(instance: UserProfile, raw: bool = False, update_fields: Any = None, **_: Any) -> None:
    """A profile is about to be saved, in the transaction of `UserProfile.save`: remember the present mentor."""
    if raw or instance._state.adding or (update_fields is not None and MENTOR_FIELDS.isdisjoint(update_fields)):
        return
    present = _lock(instance.pk)
    if present is not None and present.assigned_mentor_id != instance.assigned_mentor_id:
        vars(instance)[FORMER] = present.assigned_mentor_id


def _after_save(instance: UserProfile, **_: Any) -> None:
    if FORMER in vars(instance):
        former_id = vars(instance).pop(FORMER)
        # Not a student's first one: an import that gives them a mentor may create it itself.
        if Conversation.objects.filter(student=instance).exists():
            _open_conversation(instance)
        _record(instance, former_id)


def _lock(student_id: int) -> UserProfile | None:
    """Lock a student's profile and conversations until the transaction ends; return the profile as it is stored.

    A new conversation refers to the profile: it comes before this lock or waits for it.
    """
    profile = UserProfile.objects.select_for_update().filter(pk=student_id).first()
    conversations = Conversation.objects.filter(student=student_id)
    list(conversations.order_by("pk").select_for_update(no_key=True).values_list("pk"))
    return profile


def _open_conversation(student: UserProfile) -> None:
    if student.mentor is not None:
        Conversation.get_or_create_conversation(student_profile=student, teacher_profile=student.mentor)


def _record(student: UserProfile, former_id: int | None) -> Assignment:
    """Close the old conversation and record the change; the profile is stored already."""
    # The statement of the writer reads profiles as they were when it began. A new version of the conversation's row
    # tells it that they may have changed since (chat/store/batch.py).
    Conversation.objects.filter(student=student, teacher=former_id).update(is_locked=F("is_locked"))
    by = student.changed_by
    by_id = by.pk if by else None
    logger.info("mentor of user %s changed by user %s", student.user_id, by_id)
    record(AuditAction.REASSIGNED, actor_id=by_id, person_id=student.user_id, detail=_change(student, former_id))
    return Assignment.objects.create(student=student, former_id=former_id, mentor=student.assigned_mentor, by=by)


def _change(student: UserProfile, former_id: int | None) -> str:
    """Return which users were and are the mentor, for the audit trail."""
    former = UserProfile.objects.filter(pk=former_id).first() if former_id else None
    return f"mentor: {_number(former)} before, {_number(student.mentor)} now"


def _number(profile: UserProfile | None) -> str:
    return f"user {profile.user_id}" if profile else "nobody"
