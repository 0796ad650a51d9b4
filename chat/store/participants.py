"""Finds a connecting user and their conversation with one SQL statement.

Thousands of clients connect at once when a server restarts. Building this query with the ORM costs ten times as much
as running it.
"""

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from django.db.models import Model

from accounts.models import User, UserProfile
from chat.models import Conversation
from chat.runtime.database import fetch

M = TypeVar("M", bound=Model)


def _columns(model: type[Model], names: Collection[str]) -> Sequence[str]:
    """Return the columns in the order of the model's fields, which `from_db` requires."""
    return [field.attname for field in model._meta.concrete_fields if field.attname in names]


USER = _columns(User, {"id", "password", "is_active"})
PROFILE = _columns(UserProfile, {"id", "user_id", "role", "assigned_mentor_id", "is_locked"})
CONVERSATION = _columns(
    Conversation, {"id", "student_id", "teacher_id", "last_seq", "student_read_seq", "teacher_read_seq", "is_locked"}
)

# A student's conversation is found by their present mentor, a mentor's by its id.
OF_STUDENT = """
    LEFT JOIN accounts_userprofile other ON other.id = own.assigned_mentor_id
    LEFT JOIN chat_conversation conversation
        ON conversation.student_id = own.id AND conversation.teacher_id = other.id
"""
OF_MENTOR = """
    LEFT JOIN chat_conversation conversation
        ON conversation.id = %(conversation)s AND conversation.teacher_id = own.id
    LEFT JOIN accounts_userprofile other ON other.id = conversation.student_id
"""
STATEMENT = """
    SELECT {person}, {own}, {other}, {conversation},
        EXISTS (
            SELECT 1 FROM chat_message
            WHERE conversation_id = conversation.id AND sender_id = other.user_id AND NOT is_read
        )
    FROM accounts_user person
    LEFT JOIN accounts_userprofile own ON own.user_id = person.id
    {joins}
    WHERE person.id = %(user)s
"""


def _statement(joins: str) -> str:
    columns = {"person": USER, "own": PROFILE, "other": PROFILE, "conversation": CONVERSATION}
    lists = {table: ", ".join(f"{table}.{name}" for name in names) for table, names in columns.items()}
    return STATEMENT.format(joins=joins, **lists)


STUDENT_STATEMENT, MENTOR_STATEMENT = _statement(OF_STUDENT), _statement(OF_MENTOR)


def find_participant(user_id: int | None, conversation_id: int | None) -> tuple[User | None, Conversation | None, bool]:
    """Return the user, the conversation, and whether the user has unread messages in it.

    Without a `conversation_id` it is the conversation of a student with their present mentor. The user's profile and
    both profiles of the conversation are loaded. The user or the conversation is None if not found.
    """
    if user_id is None:
        return None, None, False
    statement = STUDENT_STATEMENT if conversation_id is None else MENTOR_STATEMENT
    rows = fetch(statement, {"user": user_id, "conversation": conversation_id})
    if not rows:
        return None, None, False
    fields = iter(rows[0])
    user = _instance(User, USER, fields)
    own, other = _instance(UserProfile, PROFILE, fields), _instance(UserProfile, PROFILE, fields)
    conversation, unread = _instance(Conversation, CONVERSATION, fields), bool(next(fields))
    if own.pk is not None:
        own.user = user
    if conversation.pk is None:
        return user, None, False
    student_first = conversation.student_id == own.pk
    conversation.student, conversation.teacher = (own, other) if student_first else (other, own)
    return user, conversation, unread


def _instance(model: type[M], names: Sequence[str], values: Iterator[Any]) -> M:
    return model.from_db(None, names, list(islice(values, len(names))))
