"""The feed of an inbox: the list of a person's conversations, kept live.

An inbox is sent states, not events: whatever happens in a conversation only marks its entry as changed, and the entry
is read when the client can take it. So the newest state always comes last, and a hundred messages may be one frame.
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

READING_SECONDS = 0.25  # from one reading of an inbox to the next; the first comes at once
CONVERSATIONS_PER_READING = 100


class InboxFeed(Subscriber):
    """A student's or a mentor's inbox; `entries` are as its client knows them, by conversation id."""

    def __init__(self, profile: UserProfile, entries: Mapping[int, EntryState], **subscriber: Any) -> None:
        super().__init__(user_id=profile.user.pk, **subscriber)
        self.profile = profile  # in the role that the user had when they connected
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
        """The ids of the users whose changes change the list."""
        return {self.user_id, *(entry.other_user_id for entry in self.entries.values())}

    def _other_users(self) -> set[int]:
        return {entry.other_user_id for entry in self.entries.values() if entry.is_active}

    def start(self, unread_total: int) -> None:
        """Send the first frame; what changed since the entries were read follows."""
        self._start([InboxEstablished(unread_total=unread_total)])

    def on_event(self, event: ConversationEvent) -> None:
        """Take an event of one of the conversations."""
        if isinstance(event, ConversationChanged):
            self._changed.add(event.conversation_id)
            self._wake()

    def catch_up(self, entries: Mapping[int, EntryState]) -> set[int]:
        """Compare with what the database holds, and send what differs. Returns the conversations that are new here."""
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
            # Only now that the client has taken all it was sent: a slow one is sent less often, not later and later.
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
