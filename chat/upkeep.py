"""The open sockets of this process, looked after together: healed, and closed when they may not stay.

Each round is a few queries for all sockets. Whatever the channel layer lost is found by comparing `last_seq` and the
read marks, and of an inbox the states of all its conversations, with what each socket was sent; whoever lost their
session or their place is found by looking again.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from typing import TypeVar

from django.conf import settings

from chat import events
from chat.database import in_database
from chat.errors import UnavailableError
from chat.inbox import states
from chat.loops import Tasks, per_event_loop
from chat.models import Conversation
from chat.presence import presence
from chat.seats import ConversationSeat, InboxSeat, Seat, Verdict, verdicts

logger = logging.getLogger(__name__)

AnySeat = TypeVar("AnySeat", bound=Seat)

ANNOUNCED_SECONDS = 10.0  # a handshake takes at most 5
NEWCOMER_SECONDS = 1.0  # the layer does not confirm a subscription: by then it stands
RETRY_SECONDS = 1.0
SAVING_SECONDS = 1.0  # between a user who is saved with a new password and the session that did it
SEATS_PER_QUERY = 500
INBOXES_PER_QUERY = 50  # each has many rows


class Upkeep:
    """The seats of one event loop."""

    def __init__(self) -> None:
        self._seats: set[Seat] = set()
        self._inboxes: set[InboxSeat] = set()  # those of the seats that are one
        self._per_user: Counter[int] = Counter()
        self._arrived: set[Seat] = set()
        self._newcomers: set[Seat] = set()
        self._announced: dict[int, float] = {}  # users of whom something changed lately, in the loop's time
        self._doubtful: set[Seat] = set()
        self._uncertain: dict[Seat, float] = {}  # since when, in the loop's time
        self._listening = False
        self._tasks = Tasks("upkeep")

    def count(self, user_id: int) -> int:
        """Return how many sockets of this user are open here."""
        return self._per_user[user_id]

    async def listen(self) -> None:
        """Hear from now on of whom something changes; to be awaited before a seat's user is looked up."""
        if not self._listening:
            self._listening = True
            events.mailbox().on_return = lambda: self._tasks.run("layer-back", self._heal_all)
            await events.mailbox().join([events.ACCESS_GROUP], self._look_again)

    def admit(self, seat: Seat) -> None:
        """Look after this seat from now on."""
        self._seats.add(seat)
        presence().arrive(seat.user_id)
        if isinstance(seat, InboxSeat):
            self._inboxes.add(seat)
        self._per_user[seat.user_id] += 1
        self._tasks.run("rounds", self._rounds)

    def started(self, seat: Seat) -> None:
        """Look at once what a seat missed between its first look into the database and the joining of its group."""
        if not self._announced.keys().isdisjoint(seat.people):
            self._doubt([seat])
        presence().watch(seat.outbox, seat.watched)
        self._look_at([seat])
        self._look_at_soon([seat])

    def dismiss(self, seat: Seat) -> None:
        """Forget this seat; harmless if it was not admitted."""
        if seat not in self._seats:
            return
        presence().watch(seat.outbox, ())
        presence().leave(seat.user_id)
        for seats in (self._seats, self._inboxes, self._arrived, self._newcomers, self._doubtful):
            seats.discard(seat)
        self._uncertain.pop(seat, None)
        self._per_user[seat.user_id] -= 1
        self._per_user += Counter()  # drops zeros
        if not self._seats:
            self._tasks.cancel("rounds")

    async def _rounds(self) -> None:
        while True:
            # Jittered, so that the processes of a restart do not ask in step for ever.
            await asyncio.sleep(settings.CHAT_HEAL_SECONDS * random.uniform(0.7, 1.0))  # noqa: S311 - not a secret
            await self._heal_all()
            self._doubt(self._seats)

    async def _heal_all(self) -> None:
        await self._heal(self._seats)

    def _look_at(self, seats: Collection[Seat]) -> None:
        self._arrived |= self._seats.intersection(seats)
        if self._arrived:
            self._tasks.run("arrived", self._look_at_arrived)

    def _look_at_soon(self, seats: Collection[Seat]) -> None:
        self._newcomers |= self._seats.intersection(seats)
        if self._newcomers:
            self._tasks.run("newcomers", self._look_at_newcomers)

    async def _look_at_arrived(self) -> None:
        while self._arrived:
            arrived, self._arrived = self._arrived, set()
            await self._heal(arrived)

    async def _look_at_newcomers(self) -> None:
        """Look once more when the layer has certainly joined the group."""
        while self._newcomers:
            newcomers, self._newcomers = self._newcomers, set()  # those who come from now on have their own second
            await asyncio.sleep(NEWCOMER_SECONDS)
            await self._heal(newcomers & self._seats)

    async def _heal(self, seats: Collection[Seat]) -> None:
        try:
            await self._heal_conversations([seat for seat in seats if isinstance(seat, ConversationSeat)])
            await self._heal_inboxes([seat for seat in seats if isinstance(seat, InboxSeat)])
        except UnavailableError:
            logger.warning("healing put off: the database is away")

    async def _heal_conversations(self, seats: Collection[ConversationSeat]) -> None:
        for batch in _batches(seats, SEATS_PER_QUERY):
            rows = await in_database(positions, {seat.conversation_id for seat in batch})
            for seat in batch:
                if row := rows.get(seat.conversation_id):
                    last_seq, student_seq, teacher_seq = row
                    reads = {seat.student_user_id: student_seq, seat.teacher_user_id: teacher_seq}
                    if seat.outbox.catch_up(last_seq, reads):
                        seat.outbox.context.run(logger.info, "healed conversation %s", seat.conversation_id)

    async def _heal_inboxes(self, seats: Collection[InboxSeat]) -> None:
        for batch in _batches(seats, INBOXES_PER_QUERY):
            found = await in_database(states, [seat.profile for seat in batch])
            for seat in batch:
                if seat in self._seats:
                    came, gone = seat.outbox.catch_up(found[seat.profile.pk])
                    presence().watch(seat.outbox, seat.watched)
                    events.mailbox().leave(map(events.conversation_group, gone), seat.outbox.hear)
                    if came:
                        await events.mailbox().join([*map(events.conversation_group, came)], seat.outbox.hear)
                        self._look_at_soon([seat])

    def _look_again(self, event: events.AnyEvent) -> None:
        if isinstance(event, events.LookAgain):
            # A seat that is being taken may have been looked up before the change: it is looked at when it starts.
            loop = asyncio.get_running_loop()
            self._announced[event.user_id] = loop.time()
            loop.call_later(ANNOUNCED_SECONDS, self._forget, event.user_id)
            self._doubt([seat for seat in self._seats if event.user_id in seat.people])
            self._look_at([seat for seat in self._inboxes if event.user_id in seat.outbox.people])
        elif isinstance(event, events.ConversationStarted):
            pair = (event.student_id, event.teacher_id)
            self._look_at([seat for seat in self._inboxes if seat.profile.pk in pair])

    def _forget(self, user_id: int) -> None:
        if asyncio.get_running_loop().time() - self._announced.get(user_id, 0) >= ANNOUNCED_SECONDS:
            self._announced.pop(user_id, None)

    def _doubt(self, seats: Collection[Seat]) -> None:
        self._doubtful |= self._seats.intersection(seats)
        if self._doubtful:
            self._tasks.run("doubtful", self._judge)

    async def _judge(self) -> None:
        while self._doubtful:
            batch = next(_batches(self._doubtful, SEATS_PER_QUERY))
            self._doubtful.difference_update(batch)
            try:
                judged = await in_database(verdicts, batch)
            except UnavailableError:
                self._doubtful |= self._seats.intersection(batch)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for seat in self._seats.intersection(batch):
                self._carry_out(judged.get(seat), seat)

    def _carry_out(self, verdict: Verdict | None, seat: Seat) -> None:
        """Close a seat that must be left; where that is not certain, only if it is still so `SAVING_SECONDS` later."""
        if verdict is None:
            self._uncertain.pop(seat, None)
            presence().watch(seat.outbox, seat.watched)  # a former mentor may have been assigned again
            return
        loop = asyncio.get_running_loop()
        since = self._uncertain.setdefault(seat, loop.time())
        if verdict.certain or loop.time() - since >= SAVING_SECONDS:
            seat.outbox.context.run(logger.info, "may not stay: %s", verdict.code)
            seat.close(verdict.code)
        else:
            loop.call_later(SAVING_SECONDS, self._doubt, [seat])


def _batches(seats: Collection[AnySeat], size: int) -> Iterator[list[AnySeat]]:
    rest = iter(list(seats))
    while batch := list(islice(rest, size)):
        yield batch


def positions(conversation_ids: set[int]) -> dict[int, tuple[int, int, int]]:
    """Return by conversation: its last seq, and the seqs up to which student and teacher have read."""
    rows = Conversation.objects.filter(pk__in=conversation_ids)
    fields = rows.values_list("pk", "last_seq", "student_read_seq", "teacher_read_seq")
    return {pk: (last, student, teacher) for pk, last, student, teacher in fields}


# The running event loop's upkeep.
upkeep = per_event_loop(Upkeep)
