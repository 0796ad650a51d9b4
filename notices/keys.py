"""The public half of the key of Web Push."""

import base64
from functools import cache

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02


@cache
def public_key(private: str) -> str:
    """Return the public half of a VAPID_PRIVATE_KEY, as `PushManager.subscribe` takes it for `applicationServerKey`."""
    key = Vapid02.from_string(private).public_key
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return base64.urlsafe_b64encode(point).rstrip(b"=").decode()
