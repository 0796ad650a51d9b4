"""Who sits where through which session, and whether they still may."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.authentication import session_fits
from accounts.models import User, UserProfile
from accounts.session_store import NEW_KEY
from chat.delivery import Delivery
from chat.errors import CloseCode
from chat.events import conversation_group
from chat.inbox import Inbox
from chat.models import Conversation
from chat.outbox import Outbox


@dataclass(eq=False, slots=True, kw_only=True)
class Seat:
    """One open socket; `session_key` is None for one that was authenticated in another way than by a session."""

    user_id: int
    session_key: str | None
    outbox: Outbox
    close: Callable[[int], None]
    asked_for_presence: bool

    @property
    def groups(self) -> Collection[str]:
        """The groups that the socket hears."""
        raise NotImplementedError

    @property
    def people(self) -> Collection[int]:
        """The ids of the users whose changes may end this seat."""
        raise NotImplementedError

    @property
    def watched(self) -> Collection[int]:
        """The ids of the users whose presence it is told: the other sides of conversations that are active."""
        return self._others() if self.asked_for_presence else ()

    def _others(self) -> Collection[int]:
        raise NotImplementedError


@dataclass(eq=False, slots=True, kw_only=True)
class ConversationSeat(Seat):
    """A participant's socket in one conversation."""

    outbox: Delivery
    student_user_id: int
    teacher_user_id: int
    was_active: bool

    @property
    def conversation_id(self) -> int:
        """Which conversation it is."""
        return self.outbox.conversation_id

    @property
    def groups(self) -> Collection[str]:
        """The conversation's."""
        return [conversation_group(self.conversation_id)]

    @property
    def people(self) -> Collection[int]:
        """Both sides."""
        return (self.student_user_id, self.teacher_user_id)

    def _others(self) -> Collection[int]:
        return [pk for pk in self.people if pk != self.user_id and self.was_active]


@dataclass(eq=False, slots=True, kw_only=True)
class InboxSeat(Seat):
    """A student's or a mentor's inbox."""

    outbox: Inbox

    @property
    def profile(self) -> UserProfile:
        """Whose it is, in the role that they had when they sat down."""
        return self.outbox.profile

    @property
    def groups(self) -> Collection[str]:
        """Those of all their conversations."""
        return [conversation_group(pk) for pk in self.outbox.states]

    @property
    def people(self) -> Collection[int]:
        """The user alone."""
        return (self.user_id,)

    def _others(self) -> Collection[int]:
        return {state.other_user_id for state in self.outbox.states.values() if state.is_active}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a seat must be left. It is not `certain` while a session may be about to be saved.

    Who changes their own password saves it first and their session at the end of the request.
    """

    code: int
    certain: bool = True


def verdicts(seats: Iterable[Seat]) -> dict[Seat, Verdict]:
    """Return the seats that must be left; three queries for any number of seats, a fourth for renamed sessions."""
    seats = list(seats)
    users = User.objects.select_related("profile").in_bulk({seat.user_id for seat in seats})
    sessions = _sessions(seats)
    places = {seat.conversation_id for seat in seats if isinstance(seat, ConversationSeat)}
    conversations = Conversation.objects.with_people().in_bulk(places)
    found = ((seat, _verdict(seat, users, sessions, conversations)) for seat in seats)
    return {seat: verdict for seat, verdict in found if verdict is not None}


def _sessions(seats: Collection[Seat]) -> dict[str, dict[str, Any]]:
    """Return what each seat's session holds, by key, after telling the seats the keys that they have now."""
    keys = {seat.session_key for seat in seats if seat.session_key is not None}
    rows = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    sessions = {row.session_key: row.get_decoded() for row in rows}
    renamed = {key: contents[NEW_KEY] for key, contents in sessions.items() if NEW_KEY in contents}
    if not renamed:
        return sessions
    for seat in seats:
        if seat.session_key in renamed:
            seat.session_key = renamed[seat.session_key]
    return _sessions(seats)


def _verdict(
    seat: Seat,
    users: Mapping[int, User],
    sessions: Mapping[str, Mapping[str, object]],
    conversations: Mapping[int, Conversation],
) -> Verdict | None:
    user = users.get(seat.user_id)
    if user is None or not user.is_active:
        return Verdict(CloseCode.SESSION_ENDED)
    session = sessions.get(seat.session_key or "")
    if seat.session_key is not None and (session is None or not session_fits(session, user)):
        return Verdict(CloseCode.SESSION_ENDED, certain=session is None)
    if isinstance(seat, ConversationSeat):
        return _place_verdict(seat, conversations.get(seat.conversation_id))
    profile = getattr(user, "profile", None)
    if isinstance(seat, InboxSeat) and not (profile and _same_side(profile, seat.profile)):
        return Verdict(CloseCode.NOT_ALLOWED)
    return None


def _same_side(profile: UserProfile, former: UserProfile) -> bool:
    return (profile.is_student, profile.is_mentor) == (former.is_student, former.is_mentor)


def _place_verdict(seat: ConversationSeat, conversation: Conversation | None) -> Verdict | None:
    if conversation is None:
        return Verdict(CloseCode.NOT_FOUND)
    if conversation.member(seat.user_id) is None or (seat.was_active and not conversation.is_active):
        return Verdict(CloseCode.NOT_ALLOWED)
    seat.was_active = conversation.is_active  # a former mentor who is assigned again may be removed again
    return None
