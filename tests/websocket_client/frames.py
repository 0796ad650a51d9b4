"""The bytes of the WebSocket protocol as a client writes and reads them."""

import os
import struct
from collections.abc import Mapping

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN = 0x80
NO_MASK = bytes(4)  # masking with zeros changes nothing and is allowed
# The key of RFC 6455, section 1.3, and the answer to it.
KEY, ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    "{headers}\r\n"
)


def upgrade_request(path: str, host: str, headers: Mapping[str, str], template: str = HANDSHAKE) -> bytes:
    """Return the request that opens a socket."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return template.format(path=path, host=host, headers=lines).encode("latin-1")


def frame(
    payload: bytes, opcode: int = TEXT, *, fin: bool = True, size: int | None = None, mask: bytes | None = None
) -> bytes:
    """Return a masked frame, by default with a random mask; `size` is a false length to put in its head."""
    claimed = len(payload) if size is None else size
    if claimed < 126:
        length = bytes((128 | claimed,))
    elif claimed < 65536:
        length = struct.pack("!BH", 128 | 126, claimed)
    else:
        length = struct.pack("!BQ", 128 | 127, claimed)
    mask = os.urandom(4) if mask is None else mask
    if mask != NO_MASK:
        key = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(len(payload))
    return bytes((fin << 7 | opcode,)) + length + mask + payload


def take_frame(data: bytes, start: int = 0) -> tuple[int, bytes, int] | None:
    """Return the first byte, the payload and the end of the frame at `start`, or None if it is not complete yet."""
    if len(data) - start < 2:
        return None
    size, begin = data[start + 1], start + 2
    if size >= 126:
        if size > 127:
            raise ValueError("a server must not mask")
        begin += 2 if size == 126 else 8
        if len(data) < begin:
            return None
        size = int.from_bytes(data[start + 2 : begin])
    end = begin + size
    return None if len(data) < end else (data[start], data[begin:end], end)
