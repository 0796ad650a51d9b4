"""A person's conversations as they see them: the list, and what the socket that keeps it live is sent.

An inbox is told states, not events: whatever happened in a conversation only marks it as changed, and its state is read
when the client takes it. So the newest state always comes last, and a hundred messages may be one frame.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from django.db.models import F

from accounts.models import MENTOR_ROLES, RoleChoices, User, UserProfile
from chat.database import in_database
from chat.errors import ClientError, CloseCode
from chat.events import AnyEvent, ConversationChanged
from chat.models import Conversation, Message
from chat.outbox import Outbox
from chat.serializers import ConversationBody, ConversationUpdate, InboxEstablished, conversation_body, encode

logger = logging.getLogger(__name__)

READING_SECONDS = 0.25  # from one reading of an inbox to the next; the first comes at once
CONVERSATIONS_PER_READING = 100
RETRY_SECONDS = 1.0  # after a reading that failed

# What makes a conversation look different in the list; as long as all of it is the same, nothing need be told.
LOOKS = (
    "last_seq",
    "student_read_seq",
    "teacher_read_seq",
    "student__assigned_mentor_id",
    *(
        f"{side}__{field}"
        for side in ("student", "teacher")
        for field in ("role", "full_name", "user__username", "user__email")
    ),
)
_looks_of = attrgetter(*(name.replace("__", ".") for name in LOOKS))


class State(NamedTuple):
    """How a conversation stands: who the other side is, and a number that is another when it looks different."""

    other_user_id: int
    is_active: bool
    looks: int


class Inbox(Outbox):
    """The outgoing half of one inbox socket of a student or a mentor; `states` are as the client knows them."""

    def __init__(
        self,
        profile: UserProfile,
        states: Mapping[int, State],
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int], None],
    ) -> None:
        super().__init__(send, close)
        self.profile, self.user = profile, profile.user
        self.states = dict(states)
        self.people = {self.user.pk, *(state.other_user_id for state in states.values())}
        self._changed: set[int] = set()
        self._reading: asyncio.Task[None] | None = None

    def start(self, unread_total: int) -> None:
        """Begin with the first frame; what changed since the states were read follows."""
        self.begin([InboxEstablished(unread_total=unread_total)])

    def stop(self) -> None:
        """Send nothing more."""
        super().stop()
        if self._reading is not None:
            self._reading.cancel()

    def hear(self, event: AnyEvent) -> None:
        """Take what a conversation's group says."""
        if isinstance(event, ConversationChanged):
            self._changed.add(event.conversation_id)
            self._wake()

    def catch_up(self, states: Mapping[int, State]) -> tuple[set[int], set[int]]:
        """Learn what the database holds and tell what looks different; returns the conversations that came and went."""
        came, gone = states.keys() - self.states.keys(), self.states.keys() - states.keys()
        self._changed |= {pk for pk, state in states.items() if self.states.get(pk) != state}
        # How they look is told when they were read: until then each round must find that it was not.
        told = {pk: state.looks for pk, state in self.states.items()}
        self.states = {pk: state._replace(looks=told.get(pk, 0)) for pk, state in states.items()}
        self.people = {self.user.pk, *(state.other_user_id for state in states.values())}
        self._wake()
        return set(came), set(gone)

    def _next(self) -> str | None:
        text = super()._next()
        if text is None and self._changed and self._reading is None:
            # Only now that the client has taken all it was sent: a slow one is told less often, not later and later.
            self._reading = asyncio.get_running_loop().create_task(self._read(), context=self.context)
        return text

    async def _read(self) -> None:
        changed = list(islice(self._changed, CONVERSATIONS_PER_READING))
        self._changed.difference_update(changed)
        try:
            for state, body in await in_database(read, changed, self.user):
                self.states[body.id] = state
                self.show(body.id, encode(ConversationUpdate(conversation=body)))
            await asyncio.sleep(READING_SECONDS)
        except ClientError:
            self._changed.update(changed)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("an inbox could not be read")
            self._close(CloseCode.INTERNAL_ERROR)  # rather than silently left behind
        finally:
            self._reading = None
        self._wake()


def conversation_bodies(ids: Sequence[int], reader: User) -> list[ConversationBody]:
    """Return those of the conversations that are the reader's, in the order of the ids; two queries."""
    return [body for _, body in read(ids, reader)]


def read(ids: Sequence[int], reader: User) -> list[tuple[State, ConversationBody]]:
    """Return how those of the conversations that are the reader's stand, and how they look; two queries."""
    rows = Conversation.objects.for_user(reader).with_people().with_overview(reader).in_bulk(ids)
    found: list[Any] = [rows[pk] for pk in ids if pk in rows]
    newest = Message.objects.with_sender().in_bulk([row.last_message_id for row in found if row.last_message_id])
    return [
        (_state(row, reader), conversation_body(row, reader.pk, newest.get(row.last_message_id), row.unread_count))
        for row in found
    ]


def _state(row: Conversation, user: User) -> State:
    other = row.teacher if row.student.user_id == user.pk else row.student
    return State(other.user_id, row.is_active, hash(_looks_of(row)))


def states(profiles: Collection[UserProfile]) -> dict[int, dict[int, State]]:
    """Return by profile's id how each of its conversations stands, in its role; at most two queries for any number."""
    found: dict[int, dict[int, State]] = {profile.pk: {} for profile in profiles}
    students = [profile for profile in profiles if profile.is_student]
    mentors = [profile for profile in profiles if profile.is_mentor]
    for side, other, members in (("student", "teacher", students), ("teacher", "student", mentors)):
        if not members:
            continue
        rows = Conversation.objects.filter(**{f"{side}__in": members})
        names = ("pk", f"{side}_id", f"{other}__user_id", "teacher_id", *LOOKS)
        for pk, profile_id, other_user_id, teacher_id, *looks in rows.values_list(*names):
            found[profile_id][pk] = State(other_user_id, _is_active(teacher_id, looks), hash(tuple(looks)))
    return found


def _is_active(teacher_id: int, looks: Collection[object]) -> bool:
    """As `Conversation.is_active`, of a row that is no instance."""
    row = dict(zip(LOOKS, looks, strict=True))
    return (
        row["student__role"] == RoleChoices.STUDENT
        and row["teacher__role"] in MENTOR_ROLES
        and row["student__assigned_mentor_id"] == teacher_id
    )


def unread_total(profile: UserProfile) -> int:
    """Return how many messages of all the other sides this student or mentor has not read."""
    side, other = ("student", "teacher") if profile.is_student else ("teacher", "student")
    unread = Message.objects.filter(is_read=False, **{f"conversation__{side}": profile})
    return unread.filter(sender=F(f"conversation__{other}__user")).count()
