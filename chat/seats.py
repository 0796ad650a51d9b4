"""Who sits in which conversation through which session, and whether they still may."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.authentication import session_fits
from accounts.models import User
from chat.delivery import Delivery
from chat.models import Conversation

SESSION_ENDED = 4401
NOT_ALLOWED = 4403
NOT_FOUND = 4404


@dataclass(eq=False, frozen=True, slots=True)
class Seat:
    """One open socket; `session_key` is None for one that was authenticated in another way than by a session."""

    user_id: int
    session_key: str | None
    conversation_id: int
    student_user_id: int
    teacher_user_id: int
    was_active: bool
    delivery: Delivery
    close: Callable[[int], None]


def verdicts(seats: Iterable[Seat]) -> dict[Seat, int]:
    """Return the seats that must be left, each with its close code; three queries for any number of seats."""
    seats = list(seats)
    users = User.objects.select_related("profile").in_bulk({seat.user_id for seat in seats})
    keys = {seat.session_key for seat in seats if seat.session_key is not None}
    rows = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    sessions = {row.session_key: row.get_decoded() for row in rows}
    conversations = Conversation.objects.with_people().in_bulk({seat.conversation_id for seat in seats})
    codes = (_verdict(seat, users, sessions, conversations) for seat in seats)
    return {seat: code for seat, code in zip(seats, codes, strict=True) if code is not None}


def _verdict(
    seat: Seat,
    users: Mapping[int, User],
    sessions: Mapping[str, Mapping[str, object]],
    conversations: Mapping[int, Conversation],
) -> int | None:
    user, conversation = users.get(seat.user_id), conversations.get(seat.conversation_id)
    if user is None or not user.is_active:
        return SESSION_ENDED
    if seat.session_key is not None and not session_fits(sessions.get(seat.session_key, {}), user):
        return SESSION_ENDED
    if conversation is None:
        return NOT_FOUND
    if conversation.member(user.pk) is None or (seat.was_active and not conversation.is_active):
        return NOT_ALLOWED
    return None
