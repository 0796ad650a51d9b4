"""`/healthz` and `/readyz`, and the answers for unknown paths and hosts."""

import asyncio
import logging
from typing import Any

import pytest
from django.db import OperationalError
from django.test import AsyncClient, Client

from chat.runtime import database
from chat.runtime.database_errors import Trouble
from qader.http import health

NEVER_CACHED = "max-age=0, no-cache, no-store, must-revalidate, private"
READY = {"database": True, "channel_layer": True, "stopping": False}


def test_healthz_answers_without_the_database(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content, response.headers["Content-Type"]) == (200, b"ok", "text/plain")
    assert response.headers["Cache-Control"] == NEVER_CACHED


@pytest.mark.django_db(transaction=True)
async def test_readyz_answers_when_database_and_channel_layer_do(async_client: AsyncClient) -> None:
    response = await async_client.get("/readyz")
    assert (response.status_code, response.json()) == (200, READY)
    assert response.headers["Cache-Control"] == NEVER_CACHED


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_both_accept_any_host_plain_http_and_only_get_and_head(
    async_client: AsyncClient, settings: Any, path: str
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert (await async_client.get(path, headers={"host": "10.0.0.7:8000"})).status_code == 200
    head = await async_client.head(path, headers={"host": "10.0.0.7:8000"})
    assert (head.status_code, head.content) == (200, b"")
    assert (await async_client.post(path)).status_code == 405


def test_other_paths_refuse_a_host_that_is_not_ours(client: Client) -> None:
    assert client.get("/", headers={"host": "10.0.0.7"}).status_code == 400


@pytest.mark.parametrize("error", [OperationalError("no password for this"), RuntimeError("a bug")])
async def test_a_failing_database_is_named_without_its_error_text(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(health, "_check_database", fail)
    with caplog.at_level(logging.WARNING, "qader.http.health"):
        response = await async_client.get("/readyz")
    assert (response.status_code, response.json()) == (503, READY | {"database": False})
    assert "password" not in caplog.text + response.content.decode()


@pytest.mark.django_db(transaction=True)
async def test_readyz_is_red_for_a_while_after_a_write_that_found_no_space(
    async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database._trouble, "full_at", 0.0)  # taken back after the test
    database.note_refusal(Trouble.FULL)
    response = await async_client.get("/readyz")
    assert (response.status_code, response.json()) == (503, READY | {"database": False})
    monkeypatch.setattr(database, "FULL_SECONDS", 0.0)
    assert (await async_client.get("/readyz")).status_code == 200


class Layer:
    """A channel layer that never answers."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await asyncio.Event().wait()


@pytest.mark.django_db(transaction=True)
async def test_a_hanging_layer_is_reported_in_time(async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert health.PART_SECONDS < 3
    monkeypatch.setattr(health, "PART_SECONDS", 0.1)
    monkeypatch.setattr(health, "get_channel_layer", Layer)
    response = await async_client.get("/readyz")
    assert (response.status_code, response.json()) == (503, READY | {"channel_layer": False})


@pytest.mark.django_db(transaction=True)
async def test_a_process_that_stops_is_alive_but_not_ready(async_client: AsyncClient) -> None:
    health.stopping.set()
    try:
        response = await async_client.get("/readyz")
        assert (response.status_code, response.json()) == (503, READY | {"stopping": True})
        assert (await async_client.get("/healthz")).status_code == 200
    finally:
        health.stopping.clear()


@pytest.mark.parametrize("path", ["/api/", "/api/v1/nothing/", "/api/v1/chat/conversations/x/mark-read/"])
def test_a_404_under_api_is_json(client: Client, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()) == (404, {"detail": "Not found.", "code": "not_found"})


def test_a_404_elsewhere_is_a_page(client: Client) -> None:
    response = client.get("/nothing")
    assert (response.status_code, response.headers["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.parametrize(
    ("error", "status", "body"),
    [
        (ValueError("secret"), 500, {"detail": "Internal server error.", "code": "internal_error"}),
        (
            OperationalError("secret"),
            503,
            {"detail": "Temporarily unavailable. Try again.", "code": "temporarily_unavailable"},
        ),
    ],
)
def test_errors_outside_views_are_json_under_api(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, body: dict[str, str]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("qader.http.health.CommonMiddleware.process_request", fail)
    client = Client(raise_request_exception=False)
    response = client.get("/api/v1/auth/me/")
    assert (response.status_code, response.json()) == (status, body)
    page = client.get("/")
    assert (page.status_code, b"secret" in page.content) == (status, False)
