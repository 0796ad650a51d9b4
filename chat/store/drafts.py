"""A message that is to be stored, and what becomes of it."""

import time
from dataclasses import dataclass, field

from accounts.names import search_text
from chat.bus.events import MessagePosted
from chat.errors import ClientError


@dataclass(eq=False, slots=True)
class Draft:
    """A message that is to be stored. `given_up` is set when its sender has been told that it is not.

    `refusals` counts the batches in which somebody else had locked its conversation or its sender.
    """

    conversation_id: int
    sender_id: int
    content: str
    client_id: str | None
    given_up: bool = False
    refusals: int = 0
    since: float = field(default_factory=time.monotonic)
    search_text: str = field(init=False)

    def __post_init__(self) -> None:
        self.search_text = search_text(self.content)  # here, once: a batch may be tried many times

    @property
    def key(self) -> tuple[int, int, str] | None:
        """What identifies a send: a repeat of it has the same key. None without a `client_id`."""
        return None if self.client_id is None else (self.conversation_id, self.sender_id, self.client_id)


@dataclass(frozen=True, slots=True)
class Sent:
    """A stored message; `created` is false if it was stored before under the same `client_id`."""

    event: MessagePosted
    created: bool


Outcome = Sent | ClientError
