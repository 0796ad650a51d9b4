"""Django's password hash, but only a few at a time: each computation needs 100 MB of memory."""

import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

HASHES_AT_ONCE = 2  # per process; enough for ten or more a second

_slots = threading.BoundedSemaphore(HASHES_AT_ONCE)


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2, limited so that parallel log-ins cannot exhaust the memory of the process."""

    def encode(self, password: str, salt: str) -> str:
        """Return the hash."""
        with _slots:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether this is the hashed password."""
        with _slots:
            return super().verify(password, encoded)
