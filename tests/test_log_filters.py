"""Errors that clients cause are logged as warnings; errors of the server keep their traceback."""

import logging
from typing import Any

import pytest
from django.test import Client

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client() -> Client:
    return Client(raise_request_exception=False)


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str, bool]]:
    return [(record.name, record.levelname, bool(record.exc_info)) for record in caplog.records]


@pytest.mark.parametrize("host", ["evil.example", "]][[<script>", "a@localhost", "localhost,evil.example", "\xff"])
def test_a_foreign_host_is_logged_as_a_warning(client: Client, caplog: pytest.LogCaptureFixture, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 400
    assert lines(caplog) == [("django.security.DisallowedHost", "WARNING", False)]
    assert "\n" not in caplog.text.strip()


@pytest.mark.parametrize(
    ("body", "content_type", "logger"),
    [
        ("a=1&" * 2000, FORM, "django.security.TooManyFieldsSent"),
        ("a=" + "1" * 300_000, FORM, "django.security.RequestDataTooBig"),
        ("abc", "multipart/form-data; boundary=", "django.request"),
    ],
)
def test_an_invalid_form_is_logged_as_a_warning(
    client: Client, caplog: pytest.LogCaptureFixture, body: str, content_type: str, logger: str
) -> None:
    assert client.post("/admin/login/", body, content_type=content_type).status_code == 400
    assert lines(caplog) == [(logger, "WARNING", False)]


def test_a_server_error_keeps_its_traceback(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qader.http import views

    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(views, "render", fail)
    with caplog.at_level(logging.WARNING):
        assert client.get("/").status_code == 500
    assert lines(caplog) == [("django.request", "ERROR", True)]
