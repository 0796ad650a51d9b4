"""The hash of passwords, as Django has it, but only a few at a time: each takes 100 MB while it is computed."""

import threading

from django.contrib.auth.hashers import Argon2PasswordHasher

HASHES_AT_ONCE = 2  # per process; ten or more a second

_slots = threading.BoundedSemaphore(HASHES_AT_ONCE)


class BoundedArgon2PasswordHasher(Argon2PasswordHasher):
    """Argon2 for a process whose memory must not depend on how many try to sign in at the same moment."""

    def encode(self, password: str, salt: str) -> str:
        """Return the hash."""
        with _slots:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        """Return whether the password is the one that was hashed."""
        with _slots:
            return super().verify(password, encoded)
