"""HTTP under daphne: what a client may take its time over, and how much it may send."""
# ruff: noqa: N802 - the names that twisted calls

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from twisted.web.http import HTTPChannel

from qader.serving import Limits


class Channel(HTTPChannel):  # type: ignore[misc] # twisted has no types
    """One HTTP connection, cut where a request takes too long: twisted's own clock starts anew with each byte."""

    _deadline: Any = None
    _answering = False

    def connectionMade(self) -> None:
        """Expect a request."""
        super().connectionMade()
        self._expect()

    def dataReceived(self, data: bytes) -> None:
        """Expect the rest of it."""
        if self._deadline is None and not self._answering:
            self._expect()
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """Answer it."""
        self._answering = True
        self._expect_no_more()
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        """Take another one, or close: in the end also where the client does not read its answer."""
        self._answering = False
        super().requestDone(request)
        if not self.persistent:
            self._expect_no_more()
            self._deadline = self.callLater(self.factory.timeOut, self.forceAbortClient)

    def connectionLost(self, reason: Any) -> None:
        """Forget it."""
        self._expect_no_more()
        super().connectionLost(reason)

    def _expect(self) -> None:
        self._deadline = self.callLater(self.factory.limits.request_seconds, self.forceAbortClient)

    def _expect_no_more(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None


class Request(WebRequest):  # type: ignore[misc]
    """One request, whose body has an end: twisted would write any to the disk before anybody is asked."""

    _received = 0

    def gotLength(self, length: int | None) -> None:
        """Refuse a body that is announced as too long."""
        super().gotLength(length)
        self._limit(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body, or refuse it where it became too long."""
        self._received += len(data)
        if self._limit(self._received):
            super().handleContentChunk(data)

    def _limit(self, length: int) -> bool:
        channel = self.channel
        if length <= channel.factory.limits.body_bytes:
            return True
        channel.dataReceived = lambda data: None
        channel.transport.write(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        channel.transport.loseConnection()
        return False


class HttpFactory(HTTPFactory):  # type: ignore[misc]
    """Makes these for every connection."""

    protocol = Channel

    def __init__(self, server: Server, limits: Limits) -> None:
        super().__init__(server)
        self.limits = limits
        self.timeOut = limits.keep_alive_seconds

    def buildProtocol(self, addr: Any) -> Channel:
        """Return a connection."""
        channel: Channel = super().buildProtocol(addr)
        channel.requestFactory = Request
        channel.abortTimeout = self.limits.close_seconds
        return channel
