"""What both servers hold every connection to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Sizes and times; a client that answers no ping is cut after at most `2 * ping_seconds + close_seconds`."""

    frame_bytes: int = 64 * 1024  # one message of a client
    ping_seconds: int = 20  # between a pong and the next ping, and how long a pong may take
    close_seconds: int = 5  # what a client has left once closing began
    grace_seconds: int = 2  # what requests under way have left once the server stops
