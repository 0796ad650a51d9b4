"""What signing in may cost the process."""

import threading
import time
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, identify_hasher, make_password

from accounts.hashers import HASHES_AT_ONCE
from qader.settings import PASSWORD_HASHERS
from tests.measure import at_once


@pytest.fixture(autouse=True)
def _hashers_of_production(settings: Any, _quick_and_clean: None) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS


def test_passwords_are_hashed_by_argon2() -> None:
    hashed = make_password("secret")
    assert hashed.startswith("argon2$argon2id$")
    assert [check_password(guess, hashed) for guess in ("secret", "Secret")] == [True, False]


@pytest.mark.parametrize("name", ["encode", "verify"])
def test_however_many_sign_in_at_once_only_few_hashes_take_their_memory(name: str) -> None:
    hashed = make_password("secret")
    original, lock, under_way, most = getattr(Argon2PasswordHasher, name), threading.Lock(), 0, 0

    def counted(*args: Any) -> Any:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.01)  # long enough for the others to come
        result = original(*args)
        with lock:
            under_way -= 1
        return result

    def sign_in() -> None:
        if name == "verify":
            identify_hasher(hashed).verify("secret", hashed)
        else:
            make_password("secret")

    with patch.object(Argon2PasswordHasher, name, counted):
        at_once(*[sign_in] * 8)
    assert most == HASHES_AT_ONCE
