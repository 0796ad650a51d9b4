"""The WebSocket client of the end-to-end tests and of the benchmark, over a real connection (RFC 6455).

`WebSocket` is for asyncio and keeps to the protocol. `RawSocket` is its raw mode: blocking, and sends any bytes.
Written by hand because it must cost little: the benchmark's client shares the machine with the server it measures.
"""

from tests.websocket_client.client import HandshakeRefusedError, SocketClosedError, WebSocket
from tests.websocket_client.raw import RawSocket

__all__ = ["HandshakeRefusedError", "RawSocket", "SocketClosedError", "WebSocket"]
