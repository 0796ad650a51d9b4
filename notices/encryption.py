"""Encrypts the payload of a push for one browser, as RFC 8291 says: the push service cannot read it."""

import base64
import os
import struct

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AUTH_BYTES = 16
POINT_BYTES = 65  # uncompressed
RECORD_BYTES = 4096
LAST_RECORD = b"\x02"  # RFC 8188: the padding of the last record begins with it


def decode(text: str) -> bytes:
    """Return the bytes of base64url text without padding; raises ValueError."""
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def browser_key(p256dh: str) -> ec.EllipticCurvePublicKey:
    """Return a browser's public key; raises ValueError."""
    point = decode(p256dh)
    if len(point) != POINT_BYTES:
        raise ValueError
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)


def auth_secret(auth: str) -> bytes:
    """Return the secret that a browser shares with us; raises ValueError."""
    secret = decode(auth)
    if len(secret) != AUTH_BYTES:
        raise ValueError
    return secret


def encrypt(
    payload: bytes,
    p256dh: str,
    auth: str,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of a push; `Content-Encoding` is `aes128gcm`.

    `key` and `salt` are made anew for each push; only the example in the RFC has fixed ones.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    salt = salt or os.urandom(16)
    theirs = browser_key(p256dh)
    our_point, their_point = _point(key.public_key()), _point(theirs)
    shared = key.exchange(ec.ECDH(), theirs)
    secret = _derive(shared, auth_secret(auth), b"WebPush: info\0" + their_point + our_point, 32)
    content_key = _derive(secret, salt, b"Content-Encoding: aes128gcm\0", 16)
    nonce = _derive(secret, salt, b"Content-Encoding: nonce\0", 12)
    record = AESGCM(content_key).encrypt(nonce, payload + LAST_RECORD, None)
    return salt + struct.pack("!IB", RECORD_BYTES, len(our_point)) + our_point + record


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
