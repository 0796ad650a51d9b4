"""Finds the sockets whose access is revoked, for many sockets at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.authentication import session_fits
from accounts.models import User, UserProfile
from accounts.session_store import NEW_KEY
from chat.errors import CloseCode
from chat.live.conversation_feed import ConversationFeed
from chat.live.inbox_feed import InboxFeed
from chat.live.subscriber import Subscriber
from chat.models import Conversation


@dataclass(frozen=True, slots=True)
class Revocation:
    """Why a socket must be closed. It is not `certain` if its session may still be saved with the new password.

    A request that changes the user's own password saves the password first, and the session at its end.
    """

    code: int
    certain: bool = True


def find_revoked(subscribers: Iterable[Subscriber]) -> dict[Subscriber, Revocation]:
    """Return the sockets that must be closed; three queries for any number, a fourth for renamed sessions."""
    subscribers = list(subscribers)
    users = User.objects.select_related("profile").in_bulk({subscriber.user_id for subscriber in subscribers})
    sessions = _sessions(subscribers)
    ids = {feed.conversation_id for feed in subscribers if isinstance(feed, ConversationFeed)}
    conversations = Conversation.objects.with_people().in_bulk(ids)
    found = ((subscriber, _revocation(subscriber, users, sessions, conversations)) for subscriber in subscribers)
    return {subscriber: revocation for subscriber, revocation in found if revocation is not None}


def _sessions(subscribers: Collection[Subscriber]) -> dict[str, dict[str, Any]]:
    """Return the content of each session by key. Updates the `session_key` of subscribers whose session was renamed."""
    keys = {subscriber.session_key for subscriber in subscribers if subscriber.session_key is not None}
    rows = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    sessions = {row.session_key: row.get_decoded() for row in rows}
    renamed = {key: contents[NEW_KEY] for key, contents in sessions.items() if NEW_KEY in contents}
    if not renamed:
        return sessions
    for subscriber in subscribers:
        if subscriber.session_key in renamed:
            subscriber.session_key = renamed[subscriber.session_key]
    return _sessions(subscribers)


def _revocation(
    subscriber: Subscriber,
    users: Mapping[int, User],
    sessions: Mapping[str, Mapping[str, object]],
    conversations: Mapping[int, Conversation],
) -> Revocation | None:
    user = users.get(subscriber.user_id)
    if user is None or not user.is_active:
        return Revocation(CloseCode.SESSION_ENDED)
    session = sessions.get(subscriber.session_key or "")
    if subscriber.session_key is not None and (session is None or not session_fits(session, user)):
        return Revocation(CloseCode.SESSION_ENDED, certain=session is None)
    profile = getattr(user, "profile", None)
    if profile is not None and profile.is_locked:
        return Revocation(CloseCode.NOT_ALLOWED)
    if isinstance(subscriber, ConversationFeed):
        return _conversation_revocation(subscriber, conversations.get(subscriber.conversation_id))
    if isinstance(subscriber, InboxFeed) and not (profile and _same_side(profile, subscriber.profile)):
        return Revocation(CloseCode.NOT_ALLOWED)
    return None


def _same_side(profile: UserProfile, former: UserProfile) -> bool:
    return (profile.is_student, profile.is_mentor) == (former.is_student, former.is_mentor)


def _conversation_revocation(feed: ConversationFeed, conversation: Conversation | None) -> Revocation | None:
    if conversation is None:
        return Revocation(CloseCode.NOT_FOUND)
    if conversation.member(feed.user_id) is None or (feed.is_active and not conversation.is_active):
        return Revocation(CloseCode.NOT_ALLOWED)
    # A mentor who was assigned again may lose access again.
    feed.is_active, feed.is_locked = conversation.is_active, conversation.is_locked
    return None
