"""The handshake of a conversation's socket: who connects, to which conversation, and what they have missed.

The usual case takes two SQL statements. Every other case uses `services`, which raise the reason of a refusal.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeGuard

from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import SessionBase

from accounts.authentication import session_fits, session_user_id
from accounts.models import User
from chat import services
from chat.models import Conversation
from chat.runtime import metrics
from chat.store.history import HistoryEvent, messages_between, resume_position
from chat.store.participants import find_participant

MAX_REPLAY = 500  # messages that `?after=` replays; a client that missed more reads the history over REST


@dataclass(frozen=True, slots=True)
class Handshake:
    """The result of a handshake: user, conversation, positions, and the messages to replay.

    `first` is the seq that the client has, `last` the newest stored one. `reads` maps each participant's user id to
    the seq up to which they have read. `recovered` is None where the client did not ask to resume.
    """

    user: User
    conversation: Conversation
    first: int
    last: int
    reads: Mapping[int, int]
    missed: list[HistoryEvent]
    recovered: bool | None
    read_up_to: int | None


def connect_participant(  # noqa: PLR0913 - each by its name
    *,
    user: User | AnonymousUser | None,
    session: SessionBase | None,
    conversation_id: int | None,
    mark: bool,
    after: int | None,
    check: Callable[[int], None],
) -> Handshake:
    """Look up the user, the conversation and the missed messages; marks the conversation as read if `mark`.

    The user is that of the `session` if there is one, else `user`. Without a `conversation_id` it is a student's own
    conversation. `after` is a message id, 0 for the beginning, or -1 for an invalid one. Raises 401, 403 and 404 as
    `services` do, and the error that `check` raises for the user's id; in these cases nothing is marked.
    """
    user_id = session_user_id(session) if session is not None else getattr(user, "pk", None)
    person, conversation, unread = find_participant(user_id, conversation_id)
    fits = person is not None and (session is None or session_fits(session, person))
    user = services.signed_in(person if person is not None and fits else AnonymousUser())
    check(user.pk)
    services.refuse_locked(user=user)
    if not _may_connect(conversation, user, to_student=conversation_id is None):
        conversation, unread = _conversation_from_services(user, conversation_id), True
    if mark and unread and services.mark_read(conversation=conversation, reader=user):
        conversation.refresh_from_db(fields=["last_seq", "student_read_seq", "teacher_read_seq"])
    return _resume(user, conversation, after)


def _may_connect(conversation: Conversation | None, user: User, *, to_student: bool) -> TypeGuard[Conversation]:
    if conversation is None or conversation.member(user.pk) is None:
        return False
    return conversation.is_active or not to_student  # a former mentor may connect and read


def _conversation_from_services(user: User, conversation_id: int | None) -> Conversation:
    """Return the conversation from `services`, which create a student's first one or raise the reason of a refusal."""
    if conversation_id is None:
        return services.student_conversation(user=user)
    return services.mentor_conversation(user=user, conversation_id=conversation_id)


def _resume(user: User, conversation: Conversation, after: int | None) -> Handshake:
    last = conversation.last_seq
    reads = {
        conversation.student.user_id: conversation.student_read_seq,
        conversation.teacher.user_id: conversation.teacher_read_seq,
    }
    handshake = partial(Handshake, user=user, conversation=conversation, last=last, reads=reads)
    if after is None:
        return handshake(first=last, missed=[], recovered=None, read_up_to=None)
    other_read_seq = next(seq for reader, seq in reads.items() if reader != user.pk)
    first, read_up_to = resume_position(conversation, user.pk, after, other_read_seq)
    outcome = "unknown" if first is None else "too_far" if last - first > MAX_REPLAY else "recovered"
    metrics.RESUMES.labels(outcome).inc()
    if first is None or outcome != "recovered":
        return handshake(first=last, missed=[], recovered=False, read_up_to=read_up_to)
    missed = messages_between(conversation.pk, first, last, MAX_REPLAY) if first < last else []
    return handshake(first=first, missed=missed, recovered=True, read_up_to=read_up_to)
