"""Fills conversations of any size inside PostgreSQL."""

from typing import Any

# By both sides in turn; all conversations grow side by side.
FILL = """
INSERT INTO chat_message (conversation_id, sender_id, content, timestamp, is_read, seq)
SELECT conversation.id, CASE WHEN n %% 2 = 1 THEN student.user_id ELSE teacher.user_id END,
    'Message ' || n || ': how far did you get with the exercises of this week?',
    now() - (%(count)s - n) * interval '1 second',
    n <= CASE WHEN n %% 2 = 1 THEN %(teacher_read)s ELSE %(student_read)s END, n
FROM generate_series(1, %(count)s) AS n
CROSS JOIN chat_conversation conversation
JOIN accounts_userprofile student ON student.id = conversation.student_id
JOIN accounts_userprofile teacher ON teacher.id = conversation.teacher_id
WHERE conversation.id = ANY(%(ids)s)
ORDER BY n, conversation.id
"""

COUNT = """
UPDATE chat_conversation SET last_seq = %(count)s, student_read_seq = %(student_read)s,
    teacher_read_seq = %(teacher_read)s, updated_at = now() - id * interval '1 second'
WHERE id = ANY(%(ids)s)
"""


def add_students(conversation_id: int, count: int) -> list[int]:
    """Give the teacher of this conversation `count` more students; return their conversations."""
    from accounts.models import RoleChoices, UserProfile
    from chat.models import Conversation
    from tests.e2e.seed import make_profiles

    teacher = Conversation.objects.select_related("teacher").get(pk=conversation_id).teacher
    names = [f"pupil-{conversation_id}-{number}" for number in range(count)]
    students = make_profiles(names, "!", RoleChoices.STUDENT)
    UserProfile.objects.filter(pk__in=[student.pk for student in students]).update(assigned_mentor=teacher)
    made = Conversation.objects.bulk_create(Conversation(student=student, teacher=teacher) for student in students)
    return [conversation.pk for conversation in made]


def store_messages(conversation_ids: list[int], count: int, *, student_read: int, teacher_read: int) -> None:
    """Store `count` messages in each conversation, read by either side up to the given numbers."""
    from django.db import connection

    values: dict[str, Any] = {
        "ids": conversation_ids,
        "count": count,
        "student_read": student_read,
        "teacher_read": teacher_read,
    }
    with connection.cursor() as cursor:
        for statement in (FILL, COUNT):
            cursor.execute(statement, values)


def vacuum() -> None:
    """Run VACUUM and a checkpoint now, so that PostgreSQL does not run them during the measurement."""
    from django.db import connection

    with connection.cursor() as cursor:
        for table_name in ("chat_message", "chat_conversation", "accounts_user", "accounts_userprofile"):
            cursor.execute(f"VACUUM ANALYZE {table_name}")
        cursor.execute("CHECKPOINT")


def message_id(conversation_id: int, seq: int) -> int:
    """Return a message's id."""
    from chat.models import Message

    return Message.objects.values_list("pk", flat=True).get(conversation=conversation_id, seq=seq)
