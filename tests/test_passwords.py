"""Passwords: which are accepted, how they are hashed, and what signing in costs."""

import threading
import time
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, identify_hasher, make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.hashers import HASHES_AT_ONCE
from accounts.models import User
from qader.settings import PASSWORD_HASHERS
from tests.queries import at_once


@pytest.fixture(autouse=True)
def _hashers_of_production(settings: Any, _quick_and_clean: None) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS


def test_passwords_are_hashed_by_argon2() -> None:
    hashed = make_password("secret")
    assert hashed.startswith("argon2$argon2id$")
    assert [check_password(guess, hashed) for guess in ("secret", "Secret")] == [True, False]


@pytest.mark.parametrize("name", ["encode", "verify"])
def test_only_a_few_password_hashes_run_at_once(name: str) -> None:
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


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("k7#pQ2!", "password_too_short"),
        ("password123", "password_too_common"),
        ("ahmad.yusuf1", "password_too_similar"),
        ("ahmad@school.example", "password_too_similar"),
    ],
)
def test_easy_passwords_are_refused(password: str, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        validate_password(password, User(username="ahmad.yusuf", email="ahmad@school.example"))
    assert code in [error.code for error in refused.value.error_list]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "password", ["  spaces around it  ", "كلمة سر طويلة 🌙", "x" * 1000 + "y", "only small letters"]
)
def test_a_password_is_accepted_unchanged(password: str) -> None:
    validate_password(password)
    User.objects.create_user("ahmad", password=password)
    client = Client()
    answers = [
        client.post("/api/v1/auth/login/", {"username": "ahmad", "password": text}, content_type="application/json")
        for text in (f"{password} ", password[:-1], password)
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 200]
