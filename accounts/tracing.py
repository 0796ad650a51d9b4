"""What causes what happens now: the request or the socket under way, which every log line then names.

It stands in a context variable, so that tasks and threads which work for a request or a socket have it, too. Whatever
works for all of them at once has none (`chat.runtime.event_loop.start_for_all`).
"""

import contextvars
from dataclasses import dataclass
from typing import Literal

Kind = Literal["request", "connection"]

UNMATCHED = "unmatched"


@dataclass(eq=False, slots=True)
class Trace:
    """One request or one socket, and what is found out about it until its end is logged.

    `route` is the name of a request's URL pattern. `refusal` says why a socket is not let in; whoever looks at it next
    changes that, and None is one that was let in.
    """

    kind: Kind
    id: str
    user_id: int | None = None
    route: str = UNMATCHED
    refusal: str | None = "origin"


_current: contextvars.ContextVar[Trace | None] = contextvars.ContextVar("trace", default=None)


def begin(kind: Kind, name: str) -> Trace:
    """Trace a request or a socket in this task from now on."""
    trace = Trace(kind, name)
    _current.set(trace)
    return trace


def current() -> Trace | None:
    """Return what causes this; None for what serves all."""
    return _current.get()


def trace() -> Trace:
    """Return what causes this, to write into it; where that is nobody, what is written goes nowhere."""
    return _current.get() or Trace("request", "")
