"""The requests of one HTTP connection under uvicorn, with limits that h11 lacks: of chunks, and daphne's of headers."""

import re

import h11

from qader.server.options import Limits

END_OF_HEAD = re.compile(rb"\n\r?\n")


class Requests(h11.Connection):
    """What a client sends, as events; too long a head or too many chunks are an error like any malformed request.

    Uvicorn reads up to 256 kB at once, and parses them in one turn of the event loop: that may be 40,000 chunks, or
    headers.
    """

    _chunks = 0  # of the present request

    def __init__(self, limits: Limits) -> None:
        super().__init__(h11.SERVER, limits.head_bytes)
        self._limits = limits

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return what comes next; raises `h11.RemoteProtocolError`."""
        if self.their_state is h11.IDLE and self._is_too_long(self.trailing_data[0]):
            raise h11.RemoteProtocolError("the head is too long", 431)
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = 0
            self._limit(len(event.headers), self._limits.head_lines, 431)
        elif isinstance(event, h11.Data) and event.chunk_start:
            self._chunks += 1
            self._limit(self._chunks, self._limits.body_chunks, 413)
        return event

    def _is_too_long(self, head: bytes) -> bool:
        """Whether these bytes begin with a head that is too long; h11 looks at its length only while it has no end."""
        size = self._limits.head_bytes
        return len(head) > size and END_OF_HEAD.search(head, 0, size) is None

    @staticmethod
    def _limit(number: int, limit: int, status: int) -> None:
        if number > limit:
            raise h11.RemoteProtocolError("too many", status)
