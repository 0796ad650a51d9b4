"""The feed of an inbox: live updates of the list of a user's conversations.

An inbox sends states, not events. An event only marks the entry of its conversation as changed; the entry is read when
the client is ready to receive it. So the newest state always comes last, and one frame may stand for many messages.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from itertools import islice
from typing import Any

from accounts.models import UserProfile
from chat.bus.events import ConversationChanged, ConversationEvent
from chat.errors import ClientError
from chat.live.subscriber import Subscriber
from chat.runtime.database import in_database
from chat.store.overview import EntryState, list_entries
from chat.wire.server_frames import ConversationUpdate, InboxEstablished

logger = logging.getLogger(__name__)

READING_SECONDS = 0.25  # between two readings of an inbox; the first one is immediate
CONVERSATIONS_PER_READING = 100


class InboxFeed(Subscriber):
    """A student's or a mentor's inbox; `entries` are those that its client has, by conversation id."""

    def __init__(self, profile: UserProfile, entries: Mapping[int, EntryState], **subscriber: Any) -> None:
        super().__init__(user_id=profile.user.pk, **subscriber)
        self.profile = profile  # with the role that the user had when they connected
        self.entries = dict(entries)
        self._changed: set[int] = set()

    @property
    def conversation_ids(self) -> Collection[int]:
        """All conversations of the list."""
        return self.entries.keys()

    @property
    def people(self) -> tuple[int]:
        """The user alone."""
        return (self.user_id,)

    @property
    def listed_people(self) -> set[int]:
        """The ids of the users whose changes affect the list."""
        return {self.user_id, *(entry.other_user_id for entry in self.entries.values())}

    def _other_users(self) -> set[int]:
        return {entry.other_user_id for entry in self.entries.values() if entry.is_active}

    def start(self, unread_total: int) -> None:
        """Send the first frame; entries that changed since they were read follow."""
        self._start([InboxEstablished(unread_total=unread_total)])

    def on_event(self, event: ConversationEvent) -> None:
        """Handle an event of one of the conversations."""
        if isinstance(event, ConversationChanged):
            self._changed.add(event.conversation_id)
            self._wake()

    def catch_up(self, entries: Mapping[int, EntryState]) -> set[int]:
        """Compare with the state of the database, and send entries that differ. Returns the new conversations."""
        new = entries.keys() - self.entries.keys()
        self._changed |= {pk for pk, entry in entries.items() if self.entries.get(pk) != entry}
        # A fingerprint is kept as it was last sent, so that every round tries again until the entry has been sent.
        sent = {pk: entry.fingerprint for pk, entry in self.entries.items()}
        self.entries = {pk: entry._replace(fingerprint=sent.get(pk, 0)) for pk, entry in entries.items()}
        self._wake()
        return set(new)

    def _next(self) -> str | None:
        text = super()._next()
        if text is None and self._changed:
            # Read only when the client has received all frames: a slow client then gets fewer updates, not late ones.
            self._start_reading()
        return text

    async def _read_missing(self) -> None:
        """Read the entries that changed."""
        changed = list(islice(self._changed, CONVERSATIONS_PER_READING))
        self._changed.difference_update(changed)
        try:
            for entry, body in await in_database(list_entries, changed, self.profile.user):
                self.entries[body.id] = entry
                self.send_latest(body.id, ConversationUpdate(conversation=body))
        except ClientError:
            self._changed.update(changed)
            raise
        await asyncio.sleep(READING_SECONDS)
