"""The sockets of the benchmark: the WebSocket client, with as little work for each message as possible."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from tests.websocket_client import WebSocket
from tests.websocket_client.frames import NO_MASK, TEXT

HOST = "127.0.0.1"
ESTABLISH_SECONDS = 30.0


class Address(NamedTuple):
    """Where one person's socket goes."""

    port: int
    path: str
    cookie: str
    conversation_id: int


class Frame(msgspec.Struct):
    """The fields of a frame that the benchmark needs."""

    type: str = ""
    error: str = ""


_decode = msgspec.json.Decoder(Frame).decode


class ChatSocket(WebSocket):
    """One socket of the project's wire format. `on_message` is called with each `new_message` frame."""

    mask = NO_MASK

    def __init__(self, address: Address) -> None:
        origin = f"http://{HOST}:{address.port}"
        super().__init__(
            f"ws://{HOST}:{address.port}{address.path}",
            headers={"Origin": origin, "Cookie": address.cookie},
            open_seconds=ESTABLISH_SECONDS,
        )
        self.address = address
        self.on_message: Callable[[bytes], object] = lambda frame: None
        self.faults: list[str] = []

    def upgraded(self) -> None:
        """Wait for the frame that says that the socket is established."""

    def received(self, payload: bytes) -> None:
        """Handle a text frame."""
        frame = _decode(payload)
        if frame.type == "new_message":
            self.on_message(payload)
        elif frame.type == "connection_established":
            self.is_ready()
        elif frame.error:
            self.faults.append(frame.error)

    def send_message(self, content: str) -> None:
        """Send a message without waiting."""
        self.write(TEXT, msgspec.json.encode({"message": content}))

    def leave(self) -> None:
        """Say goodbye and end the connection without waiting for the server."""
        if self.close_code is None and not self.transport.is_closing():
            self.say_goodbye()
            self.transport.close()
