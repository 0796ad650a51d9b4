"""Sends a push to one browser by its push service (RFC 8030, 8291, 8292)."""

import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from py_vapid import Vapid02

from notices.encryption import encrypt
from notices.endpoints import EndpointNotAllowedError, addresses_of, host_of
from notices.models import PushSubscription

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 5.0  # for each part of an answer
PUSH_SECONDS = 15.0  # for everything
PAUSE_SECONDS = 60.0  # for which a service is left alone that could not be reached
TTL_SECONDS = 12 * 3600  # a push that finds no browser for so long is worth nothing
TOKEN_SECONDS = 12 * 3600  # at most a day (RFC 8292)
GONE = {404, 410}
TOO_MANY, UNAVAILABLE = 429, 503


class Outcome(Enum):
    """What became of a notice, or of a push to one browser."""

    SENT = "sent"
    FAILED = "failed"  # it may have arrived
    NOT_SENT = "not_sent"  # it has certainly not arrived
    GONE = "gone"  # the subscription has ended, or may not be used
    READ = "read"  # the reader has read meanwhile, so nothing was sent


class _Connection(http.client.HTTPSConnection):
    """A connection to one of the addresses that were checked. It follows no redirects."""

    def __init__(self, host: str, addresses: list[Any]) -> None:
        super().__init__(host, timeout=ANSWER_SECONDS)
        self._addresses = addresses

    def connect(self) -> None:
        """Connect to the first address that answers; raises `OSError`."""
        plain = _connected(self._addresses)
        secure = _tls().wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        self.sock = secure  # before the handshake, so that `_deadline` can cut it
        secure.do_handshake()


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _connected(addresses: list[Any]) -> socket.socket:
    deadline = time.monotonic() + CONNECT_SECONDS
    error: OSError = TimeoutError()
    for family, kind, protocol, _, address in addresses:
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(max(0.1, deadline - time.monotonic()))
            found.connect(address)
        except OSError as problem:
            found.close()
            error = problem
        else:
            found.settimeout(ANSWER_SECONDS)
            return found
    raise error


@contextmanager
def _deadline(connection: _Connection) -> Iterator[None]:
    """Cut the connection after `PUSH_SECONDS`: a service may send its answer byte by byte."""

    def cut() -> None:
        with suppress(OSError):
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(PUSH_SECONDS, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class PushSender:
    """Sends pushes, one after the other.

    A service that cannot be reached is left alone for a minute, and a browser that has got too many.
    """

    def __init__(self) -> None:
        self._paused: dict[str, float] = {}  # until when, by host or by endpoint

    def send(self, subscription: PushSubscription, payload: dict[str, Any], topic: str) -> Outcome:
        """Send the payload to this browser. A newer push of the same topic replaces one that was not delivered yet."""
        try:
            host = host_of(subscription.endpoint)
            if self._is_paused(host) or self._is_paused(subscription.endpoint):
                return Outcome.NOT_SENT
            connection = _Connection(host, addresses_of(host))
            body = encrypt(_encoded(payload), subscription.p256dh, subscription.auth)
        except (EndpointNotAllowedError, ValueError):  # the setting has changed, or the name leads elsewhere now
            logger.warning("push subscription %s may not be used", subscription.pk)
            return Outcome.GONE
        except OSError as error:
            return self._unreachable(host, error)
        try:
            with _deadline(connection):
                return self._send(connection, subscription, body, topic)
        finally:
            connection.close()

    def _send(self, connection: _Connection, subscription: PushSubscription, body: bytes, topic: str) -> Outcome:
        try:
            connection.connect()
        except OSError as error:
            return self._unreachable(connection.host, error)
        try:
            path = urlsplit(subscription.endpoint)._replace(scheme="", netloc="").geturl()
            connection.request("POST", path, body, _headers(connection.host, topic))
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            logger.warning("push to %s: %s", connection.host, type(error).__name__)
            return Outcome.FAILED
        return self._outcome(connection.host, subscription.endpoint, status)

    def _outcome(self, host: str, endpoint: str, status: int) -> Outcome:
        if status in GONE:
            return Outcome.GONE
        if status in {TOO_MANY, UNAVAILABLE}:
            self._pause(endpoint if status == TOO_MANY else host)
            return Outcome.NOT_SENT
        if 200 <= status < 300:
            return Outcome.SENT
        logger.warning("push to %s: status %s", host, status)
        return Outcome.FAILED

    def _unreachable(self, host: str, error: OSError) -> Outcome:
        logger.warning("push service %s cannot be reached: %s", host, type(error).__name__)
        self._pause(host)
        return Outcome.NOT_SENT

    def _pause(self, place: str) -> None:
        self._paused[place] = time.monotonic() + PAUSE_SECONDS

    def _is_paused(self, place: str) -> bool:
        return self._paused.get(place, 0.0) > time.monotonic()


def _encoded(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _headers(host: str, topic: str) -> dict[str, str]:
    claims = {
        "aud": f"https://{host}",
        "exp": int(time.time()) + TOKEN_SECONDS,
        "sub": settings.VAPID_SUBJECT,
    }
    signed: dict[str, str] = Vapid02.from_string(settings.VAPID_PRIVATE_KEY).sign(claims)
    return signed | {
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(TTL_SECONDS),
        "Topic": topic,
        "Urgency": "normal",
    }
