"""The current request or socket, which every log line names.

A context variable holds it, so that the tasks and threads of a request or a socket have it, too. Tasks that work for
all sockets at once have none.
"""

import contextvars
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["request", "connection"]

UNMATCHED = "unmatched"


@dataclass(eq=False, slots=True)
class Trace:
    """One request or one socket, with the facts for its log line.

    `route` is the name of a request's URL pattern. `refusal` is the reason why a socket is refused; each step of the
    handshake sets its own, and None means accepted. `refused` has further facts for the line about a refusal. `waited`
    are the seconds that the request waited for its turn on purpose, which the time limit of its answer does not count.
    """

    kind: Kind
    id: str
    user_id: int | None = None
    route: str = UNMATCHED
    refusal: str | None = "origin"
    refused: dict[str, str] = field(default_factory=dict)
    waited: float = 0.0
    waiting_since: float | None = None

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time in this block as waiting."""
        self.waiting_since = time.monotonic()
        try:
            yield
        finally:
            self.waited, self.waiting_since = self.waited_until_now(), None

    def waited_until_now(self) -> float:
        """Return `waited`, with the wait that is still going on."""
        since = self.waiting_since
        return self.waited + (time.monotonic() - since if since is not None else 0.0)


_current: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("trace", default=None)


def begin(kind: Kind, name: str) -> Trace:
    """Set the request or socket of this task."""
    trace = Trace(kind, name)
    _current.set(trace)
    return trace


def current() -> Trace | None:
    """Return the current request or socket, or None."""
    return _current.get()


def trace() -> Trace:
    """Return the current request or socket to write to; if there is none, an object that is thrown away."""
    return _current.get() or Trace("request", "")
