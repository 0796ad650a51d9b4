"""A browsers' push service on the loopback, and browsers that decrypt what it gets, by no code of ours."""

import base64
import json
import os
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.nginx import make_certificate

HOST = "push.example.org"
SUBJECT = "mailto:it@school.example"
# Made for the tests alone.
VAPID_PRIVATE_KEY = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Browser:
    """A browser that has subscribed at the service."""

    def __init__(self, name: str, host: str = HOST) -> None:
        self.path = f"/send/{name}"
        self.endpoint = f"https://{host}{self.path}"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._auth = os.urandom(16)

    @property
    def point(self) -> bytes:
        return self._key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @property
    def subscription(self) -> dict[str, Any]:
        """What its `PushSubscription` says as JSON."""
        keys = {"p256dh": encode(self.point), "auth": encode(self._auth)}
        return {"endpoint": self.endpoint, "expirationTime": None, "keys": keys}

    def decrypt(self, body: bytes) -> Any:
        """Return the payload of a push, as RFC 8291 and RFC 8188 say."""
        salt, (size, length), rest = body[:16], struct.unpack("!IB", body[16:21]), body[21:]
        assert (size, length) == (4096, 65)
        sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), rest[:65])
        shared = self._key.exchange(ec.ECDH(), sender)
        secret = HKDF(hashes.SHA256(), 32, self._auth, b"WebPush: info\0" + self.point + rest[:65]).derive(shared)
        key = HKDF(hashes.SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
        nonce = HKDF(hashes.SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
        padded = AESGCM(key).decrypt(nonce, rest[65:], None).rstrip(b"\0")
        assert padded.endswith(b"\x02")
        return json.loads(padded[:-1])


@dataclass(frozen=True)
class Push:
    """A request that the service got."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class PushService:
    """Where pushes go. `answer` returns the status, or raises to say nothing; `taken` is called with each push."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.port, self.certificate = port, certificate
        self.pushes: list[Push] = []
        self.answer: Callable[[Push], int] = lambda _: 201
        self.headers: dict[str, str] = {}
        self._arrived = threading.Condition()

    def take(self, push: Push) -> None:
        with self._arrived:
            self.pushes.append(push)
            self._arrived.notify_all()

    def wait_for(self, count: int, seconds: float = 20) -> list[Push]:
        """Wait until so many pushes have come."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.pushes) >= count, seconds), self.pushes
            return list(self.pushes)

    def to(self, browser: Browser) -> list[Any]:
        """The payloads for this browser."""
        return [browser.decrypt(push.body) for push in self.pushes if push.path == browser.path]


@contextmanager
def push_service(folder: Path) -> Iterator[PushService]:
    """A running one; its certificate is for HOST."""
    certificate, key = make_certificate(folder, HOST)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            push = Push(self.path, dict(self.headers), body)
            made.take(push)
            self.send_response(made.answer(push))
            for header in made.headers.items():
                self.send_header(*header)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that was killed
        server.daemon_threads = True
        made = PushService(server.server_port, certificate)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def check_token(header: str, audience: str, now: float) -> str:
    """Check a `vapid` token as a push service does (RFC 8292); return the public key that it is signed with."""
    scheme, _, rest = header.partition(" ")
    assert scheme == "vapid"
    parts = dict(part.strip().split("=", 1) for part in rest.split(","))
    head, body, signature = parts["t"].split(".")
    raw = decode(signature)
    r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(parts["k"]))
    key.verify(encode_dss_signature(r, s), f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(decode(body))
    assert json.loads(decode(head)) == {"typ": "JWT", "alg": "ES256"}
    assert (claims["aud"], claims["sub"]) == (audience, SUBJECT)
    assert now < claims["exp"] <= now + 24 * 3600
    return parts["k"]
