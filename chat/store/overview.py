"""The list of a user's conversations: its entries, those that are missing, what has changed, and what is unread."""

from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef

from accounts.models import MENTOR_ROLES, RoleChoices, User, UserProfile
from chat.models import Conversation, Message
from chat.wire.server_frames import ConversationBody, conversation_body

# An entry of the list changes when one of these fields does.
FINGERPRINT_FIELDS = (
    "last_seq",
    "student_read_seq",
    "teacher_read_seq",
    "waiting_since",
    "student__assigned_mentor_id",
    *(
        f"{side}__{field}"
        for side in ("student", "teacher")
        for field in ("role", "full_name", "user__username", "user__email")
    ),
)
_fingerprint_values = attrgetter(*(name.replace("__", ".") for name in FINGERPRINT_FIELDS))


class EntryState(NamedTuple):
    """One conversation in a user's list; `fingerprint` is a hash that changes whenever the list entry does."""

    other_user_id: int
    is_active: bool
    fingerprint: int


def conversation_bodies(ids: Sequence[int], reader: User) -> list[ConversationBody]:
    """Return the objects of the reader's conversations among `ids`, in that order; two queries."""
    return [body for _, body in list_entries(ids, reader)]


def list_entries(ids: Sequence[int], reader: User) -> list[tuple[EntryState, ConversationBody]]:
    """Return the state and the object of the reader's conversations among `ids`, in that order; two queries."""
    rows = Conversation.objects.for_user(reader).with_people().with_overview(reader).in_bulk(ids)
    found: list[Any] = [rows[pk] for pk in ids if pk in rows]
    newest = Message.objects.with_sender().in_bulk([row.last_message_id for row in found if row.last_message_id])
    return [
        (_state(row, reader), conversation_body(row, reader.pk, newest.get(row.last_message_id), _unread(row, reader)))
        for row in found
    ]


def _unread(row: Any, reader: User) -> int:
    """Return the number of unread messages; 0 where a student has another mentor now, and cannot read them."""
    return row.unread_count if row.is_active or row.student.user_id != reader.pk else 0


def _state(row: Conversation, reader: User) -> EntryState:
    other = row.teacher if row.student.user_id == reader.pk else row.student
    return EntryState(other.user_id, row.is_active, hash(_fingerprint_values(row)))


def create_missing(mentor: UserProfile) -> list[int]:
    """Create this mentor's conversations with their present students where they are missing; safe for concurrent calls.

    Returns the profile ids of these students. One query if no conversation is missing, three statements for any number.
    A student who is being deleted is left out.
    """
    missing = UserProfile.objects.filter(
        ~Exists(Conversation.objects.filter(student=OuterRef("pk"), teacher=mentor)),
        assigned_mentor=mentor,
        role=RoleChoices.STUDENT,
    )
    if not (found := list(missing.order_by("pk").values_list("pk", flat=True))):
        return []
    with transaction.atomic():
        students = _locked_students(found)
        rows = [Conversation(student_id=student, teacher=mentor) for student in students]
        Conversation.objects.bulk_create(rows, ignore_conflicts=True)  # a concurrent call may have created some
    return students


def _locked_students(ids: list[int]) -> list[int]:
    """Lock these profiles as a new reference does, except those that are locked against it: they would hold up all."""
    if connection.vendor != "postgresql":
        return ids
    with connection.cursor() as cursor:
        lock = "SELECT id FROM accounts_userprofile WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE SKIP LOCKED"
        cursor.execute(lock, [ids])
        return [pk for (pk,) in cursor]


def entry_states(profiles: Collection[UserProfile]) -> dict[int, dict[int, EntryState]]:
    """Return the states of the conversations of each profile, by profile id and conversation id.

    Each profile is taken in its present role. At most two queries for any number of profiles.
    """
    found: dict[int, dict[int, EntryState]] = {profile.pk: {} for profile in profiles}
    students = [profile for profile in profiles if profile.is_student]
    mentors = [profile for profile in profiles if profile.is_mentor]
    for side, other, members in (("student", "teacher", students), ("teacher", "student", mentors)):
        if not members:
            continue
        rows = Conversation.objects.filter(**{f"{side}__in": members})
        names = ("pk", f"{side}_id", f"{other}__user_id", "teacher_id", *FINGERPRINT_FIELDS)
        for pk, profile_id, other_user_id, teacher_id, *values in rows.values_list(*names):
            found[profile_id][pk] = EntryState(other_user_id, _is_active(teacher_id, values), hash(tuple(values)))
    return found


def _is_active(teacher_id: int, values: Collection[object]) -> bool:
    """Return `Conversation.is_active` for the row with these values."""
    row = dict(zip(FINGERPRINT_FIELDS, values, strict=True))
    return (
        row["student__role"] == RoleChoices.STUDENT
        and row["teacher__role"] in MENTOR_ROLES
        and row["student__assigned_mentor_id"] == teacher_id
    )


def unread_total(profile: UserProfile) -> int:
    """Return how many messages this student or mentor has not read, over all conversations that they can open.

    A student can open the one with their present mentor, a mentor also those with former students.
    """
    if profile.is_student:
        unread = Message.objects.filter(sender=F("conversation__teacher__user"), conversation__student=profile)
        unread = unread.filter(
            conversation__teacher=F("conversation__student__assigned_mentor"),
            conversation__teacher__role__in=MENTOR_ROLES,
        )
    else:
        unread = Message.objects.filter(sender=F("conversation__student__user"), conversation__teacher=profile)
    return unread.filter(is_read=False).count()
