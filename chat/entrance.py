"""Where a socket begins: who asks, for which conversation, and what they have missed, read in two plain statements.

Thousands connect at once when a server restarts, and building the same queries by the ORM costs ten times what they
do. What is not found here in the usual way goes through `services`, which say why.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeGuard, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase
from django.db import connection
from django.db.models import Model

from accounts.authentication import session_fits, session_user_id
from accounts.models import User, UserProfile
from chat import metrics, services
from chat.database import fetch
from chat.delivery import messages_between
from chat.events import MessagePosted
from chat.models import Conversation

M = TypeVar("M", bound=Model)

MAX_REPLAY = 500  # messages that `?after=` brings; whoever missed more reads the history over REST


def _columns(model: type[Model], names: Collection[str]) -> Sequence[str]:
    """Return the columns in the order of the model's fields: `from_db` takes their values in no other."""
    return [field.attname for field in model._meta.concrete_fields if field.attname in names]


USER = _columns(User, {"id", "password", "is_active"})
PROFILE = _columns(UserProfile, {"id", "user_id", "role", "assigned_mentor_id"})
CONVERSATION = _columns(
    Conversation, {"id", "student_id", "teacher_id", "last_seq", "student_read_seq", "teacher_read_seq"}
)

# The conversation by the assignment as it stands now; or the one that was asked for, if it is this mentor's own.
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


RESUME_STATEMENT = """
    SELECT (
        SELECT seq FROM chat_message WHERE id = %(after)s AND conversation_id = %(conversation)s
    ), (
        SELECT id FROM chat_message
        WHERE conversation_id = %(conversation)s AND sender_id = %(user)s AND seq <= %(other_read)s
        ORDER BY seq DESC LIMIT 1
    )
"""


def _statement(joins: str) -> str:
    columns = {"person": USER, "own": PROFILE, "other": PROFILE, "conversation": CONVERSATION}
    lists = {table: ", ".join(f"{table}.{name}" for name in names) for table, names in columns.items()}
    return STATEMENT.format(joins=joins, **lists)


STUDENT_STATEMENT, MENTOR_STATEMENT = _statement(OF_STUDENT), _statement(OF_MENTOR)


@dataclass(frozen=True, slots=True)
class Entrance:
    """Who enters where, what is stored up to now, how far each participant has read, and what to replay.

    `first` is the seq that the client has; `recovered` is None where it did not ask to resume.
    """

    user: User
    conversation: Conversation
    first: int
    last: int
    reads: Mapping[int, int]
    missed: list[MessagePosted]
    recovered: bool | None
    read_up_to: int | None


def enter(  # noqa: PLR0913 - each by its name
    *,
    user: User | AnonymousUser | None,
    session: SessionBase | None,
    conversation_id: int | None,
    mark: bool,
    after: int | None,
    check: Callable[[int], None],
) -> Entrance:
    """Begin a socket: mark the other side's messages read if `mark`, and look up what `after` missed.

    With a `session`, its user enters, else `user`. Without a `conversation_id` it is a student's own conversation.
    `after` is a message id, -1 for one that cannot be. Raises 401, 403 and 404 as `services` do, and what `check`
    raises of the user's id: whoever is refused has read nothing.
    """
    user_id = session_user_id(session) if session is not None else getattr(user, "pk", None)
    person, conversation, unread = _look_up(user_id, conversation_id)
    fits = person is not None and (session is None or session_fits(session, person))
    user = services.signed_in(person if person is not None and fits else AnonymousUser())
    if not _is_open(conversation, user, to_student=conversation_id is None):
        conversation, unread = _by_services(user, conversation_id), True
    check(user.pk)
    if mark and unread and services.mark_read(conversation=conversation, reader=user):
        conversation.refresh_from_db(fields=["last_seq", "student_read_seq", "teacher_read_seq"])
    return _resume(user, conversation, after)


def _look_up(user_id: int | None, conversation_id: int | None) -> tuple[User | None, Conversation | None, bool]:
    """Return the user with their profile, the conversation with its two, and whether they have unread messages."""
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


def _is_open(conversation: Conversation | None, user: User, *, to_student: bool) -> TypeGuard[Conversation]:
    if conversation is None or conversation.member(user.pk) is None:
        return False
    return conversation.is_active or not to_student  # a former mentor may come and read


def _by_services(user: User, conversation_id: int | None) -> Conversation:
    """Make the student's first conversation with this mentor, or raise why there is none."""
    if conversation_id is None:
        return services.student_conversation(user=user)
    return services.mentor_conversation(user=user, conversation_id=conversation_id)


def _resume(user: User, conversation: Conversation, after: int | None) -> Entrance:
    last = conversation.last_seq
    reads = {
        conversation.student.user_id: conversation.student_read_seq,
        conversation.teacher.user_id: conversation.teacher_read_seq,
    }
    entrance = partial(Entrance, user=user, conversation=conversation, last=last, reads=reads)
    if after is None:
        return entrance(first=last, missed=[], recovered=None, read_up_to=None)
    other_read = next(seq for reader, seq in reads.items() if reader != user.pk)
    asked = {"after": after, "conversation": conversation.pk, "user": user.pk, "other_read": other_read}
    with connection.cursor() as cursor:  # planned for this conversation: a plan for any would sort all of a long one
        cursor.execute(RESUME_STATEMENT, asked)
        [(first, read_up_to)] = cursor.fetchall()
    outcome = "unknown" if first is None else "too_far" if last - first > MAX_REPLAY else "recovered"
    metrics.RESUMES.labels(outcome).inc()
    if outcome != "recovered":
        return entrance(first=last, missed=[], recovered=False, read_up_to=read_up_to)
    missed = messages_between(conversation.pk, first, last, MAX_REPLAY) if first < last else []
    return entrance(first=first, missed=missed, recovered=True, read_up_to=read_up_to)
