"""What `mark_read` and `typing` of all of a user's sockets make this process do: one budget, however many they are.

Each socket has a budget of frames, too, beyond which they are refused. Here nothing is refused.
"""

import asyncio
from functools import partial
from weakref import WeakValueDictionary

from accounts.models import User
from chat import services
from chat.models import Conversation
from chat.runtime.database import in_database
from chat.runtime.event_loop import Tasks, per_event_loop
from chat.runtime.rate_limit import Bucket

PER_USER = 20.0, 40.0  # published `typing` and calls of the database, per second and burst

Outcome = Exception | None


class SmallFrames:
    """The small frames of one user's sockets in this process, which all hold this object."""

    def __init__(self) -> None:
        self._bucket = Bucket(*PER_USER)
        self._marking = Tasks("mark-read")  # by conversation, so that a locked one makes no other wait
        self._asked: dict[int, dict[int | None, asyncio.Future[Outcome]]] = {}

    def may_publish(self) -> bool:
        """Whether `typing` may be published: beyond the budget it is lost, and clients forget it by themselves."""
        return not self._bucket.take()

    async def mark_read(self, conversation: Conversation, reader: User, message_id: int | None) -> None:
        """Mark up to a message, or all, as read; raises `message_not_found`.

        Beyond the budget, it waits. What waits for one conversation is done in one call.
        """
        asked = self._asked.setdefault(conversation.pk, {})
        if message_id not in asked:
            asked[message_id] = asyncio.get_running_loop().create_future()
            self._marking.run(str(conversation.pk), partial(self._mark, conversation, reader))
        if error := await asyncio.shield(asked[message_id]):
            raise error

    async def _mark(self, conversation: Conversation, reader: User) -> None:
        while conversation.pk in self._asked:
            if wait := self._bucket.take():
                await asyncio.sleep(wait)
                continue
            asked = self._asked.pop(conversation.pk)
            call = partial(services.mark_read_up_to_newest, message_ids=list(asked))
            error: Outcome = None
            missing: set[int] = set()
            try:
                missing = await in_database(call, conversation=conversation, reader=reader)
            except Exception as failure:
                error = failure
            for message_id, outcome in asked.items():
                outcome.set_result(services.no_such_message() if message_id in missing else error)


class AllSmallFrames:
    """The small frames of every user who has a socket in this process."""

    def __init__(self) -> None:
        self._users: WeakValueDictionary[int, SmallFrames] = WeakValueDictionary()

    def of(self, user_id: int) -> SmallFrames:
        """Return those of this user, as long as anybody holds them."""
        if (found := self._users.get(user_id)) is None:
            found = self._users[user_id] = SmallFrames()
        return found


all_small_frames = per_event_loop(AllSmallFrames)
