"""HTTP time and size limits under daphne."""
# ruff: noqa: N802 - names given by twisted

import asyncio
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from twisted.web.http import HTTPChannel, _MalformedChunkedDataError

from qader.server.options import Limits
from qader.server.unanswered_requests import UnansweredRequests


class Channel(HTTPChannel):  # type: ignore[misc] # twisted has no types
    """One HTTP connection, aborted if a request or the reading of its answer takes too long.

    Twisted's own timeout is restarted by each byte, and is off while an answer is written.
    """

    _deadline: Any = None
    _answering = False
    _writable: asyncio.Event | None = None  # exists while the write buffer is full
    _read_limit: Any = None

    def connectionMade(self) -> None:
        """Start the time limit of the first request."""
        super().connectionMade()
        self._start_limit()

    def dataReceived(self, data: bytes) -> None:
        """Start the time limit of the next request with its first byte, and count the bytes of all requests."""
        if self._deadline is None and not self._answering:
            self._start_limit()
        self.factory.unanswered.received(self, len(data))
        super().dataReceived(data)
        if self.transport is None or self.transport.protocol is not self:  # it is a WebSocket now
            self.factory.unanswered.forget(self)

    def allContentReceived(self) -> None:
        """Stop the time limit: the request is complete."""
        self._answering = True
        self._stop_limit()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Abort a closing connection after a while: twisted would wait for a client that does not read its answer."""
        self._answering = False
        self.factory.unanswered.forget(self)  # first: twisted then passes the next request to `dataReceived`
        super().requestDone(request)
        if not self.persistent:
            self._stop_limit()
            self._deadline = self.callLater(self.factory.limits.answer_seconds, self.forceAbortClient)

    def pauseProducing(self) -> None:
        """The write buffer is full: start the time limit for reading."""
        super().pauseProducing()
        if self._writable is None:
            self._writable = asyncio.Event()
            self._read_limit = self.callLater(self.factory.limits.answer_seconds, self.forceAbortClient)

    def resumeProducing(self) -> None:
        """The write buffer is empty again."""
        super().resumeProducing()
        self._wake()

    async def wait_writable(self) -> None:
        """Wait while the write buffer is full; daphne would keep everything in memory."""
        while self._writable is not None:
            await self._writable.wait()

    def connectionLost(self, reason: Any) -> None:
        """Stop the time limits, and wake the task that waits to write."""
        self._stop_limit()
        self.factory.unanswered.forget(self)
        super().connectionLost(reason)
        self._wake()

    def abort(self) -> None:
        """Cut the connection."""
        self.forceAbortClient()

    def _wake(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None
            if self._read_limit.active():
                self._read_limit.cancel()

    def _start_limit(self) -> None:
        self._deadline = self.callLater(self.factory.limits.request_seconds, self.forceAbortClient)

    def _stop_limit(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class Request(WebRequest):  # type: ignore[misc]
    """One request with a limited body: twisted writes a body of any size to disk before it calls the application."""

    _received = _chunks = 0
    _is_chunked = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Twisted would read forms itself, which costs time twice, and answer 400 without a body to some of them.
        super().__init__(*args, **kwargs, parsePOSTFormSubmission=False)

    def gotLength(self, length: int | None) -> None:
        """Refuse a body whose Content-Length is too large."""
        super().gotLength(length)
        self._is_chunked = length is None
        self._limit(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, or refuse the body if it is now too large or in too many chunks.

        Twisted reads 64 kB at once, which may be 11,000 chunks; only this error ends that, with 400.
        """
        self._received += len(data)
        self._chunks += self._is_chunked
        if self._chunks > self.channel.factory.limits.body_chunks:
            raise _MalformedChunkedDataError("too many chunks")
        if self._limit(self._received):
            super().handleContentChunk(data)

    async def wait_writable(self) -> None:
        """Wait while the write buffer is full."""
        if self.channel is not None:
            await self.channel.wait_writable()

    def abort(self) -> None:
        """Cut the connection."""
        if self.channel is not None:
            self.channel.abort()

    def _limit(self, length: int) -> bool:
        channel = self.channel
        if length <= channel.factory.limits.body_bytes:
            return True
        channel.dataReceived = lambda data: None
        channel.transport.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        channel.transport.loseConnection()
        return False


class HttpFactory(HTTPFactory):  # type: ignore[misc]
    """Makes a `Channel` with our limits for every connection."""

    protocol = Channel

    def __init__(self, server: Server, limits: Limits) -> None:
        super().__init__(server)
        self.limits = limits
        self.unanswered = UnansweredRequests(limits.unanswered_bytes)
        self.timeOut = limits.keep_alive_seconds

    def buildProtocol(self, addr: Any) -> Channel:
        """Return the channel of a new connection."""
        channel: Channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        channel.abortTimeout = self.limits.close_seconds
        return channel
