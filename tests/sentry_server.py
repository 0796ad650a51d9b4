"""A local server that receives what is reported to Sentry."""

import gzip
import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli


class SentryServer:
    """Where `dsn` leads to. `received` is all that came, unpacked, to be searched for what must not be there."""

    def __init__(self, port: int) -> None:
        self.dsn = f"http://public@127.0.0.1:{port}/1"
        self.received = ""
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()

    def take(self, headers: str, body: str) -> None:
        """Take an envelope: a header, and for each item its header and itself, a line each."""
        self.received += headers + body
        lines = body.splitlines()[1:]
        for head, item in zip(lines[::2], lines[1::2], strict=True):
            if json.loads(head)["type"] == "event":
                self._events.put(json.loads(item))

    def event(self, seconds: float = 15) -> dict[str, Any]:
        """Wait for the next event."""
        return self._events.get(timeout=seconds)

    @property
    def empty(self) -> bool:
        """Whether no event is left."""
        return self._events.empty()


@contextmanager
def sentry_server() -> Iterator[SentryServer]:
    """A running one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            unpack = {"br": brotli.decompress, "gzip": gzip.decompress}[self.headers["Content-Encoding"]]
            made.take(str(self.headers), unpack(body).decode())
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = SentryServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()
