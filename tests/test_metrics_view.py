"""Who may read `/metrics`: with a token, whoever sends it; without one, direct requests from localhost only."""

from typing import Any

import pytest
from django.test import Client

TOKEN = "a-token-of-many-characters"


def status(client: Client, address: str = "127.0.0.1", method: str = "GET", **headers: str) -> int:
    answer = client.generic(method, "/metrics", REMOTE_ADDR=address, headers=headers)
    if answer.status_code == 404:
        assert answer.content == client.get("/nothing-here").content  # as if there were none
    return int(answer.status_code)


def test_it_is_prometheus_text_and_never_cached(client: Client) -> None:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        200,
        "text/plain; version=1.0.0; charset=utf-8",
    )
    assert answer.headers["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"
    assert b"\nqader_messages_total " in answer.content
    assert b"_created" not in answer.content


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
def test_without_a_token_localhost_may_read(client: Client, address: str) -> None:
    assert status(client, address) == 200


@pytest.mark.parametrize("address", ["192.0.2.1", "10.0.0.7", "172.18.0.5", "::ffff:10.0.0.7", "2001:db8::1", "", "x"])
def test_without_a_token_other_addresses_get_404(client: Client, address: str) -> None:
    assert status(client, address) == 404


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "name", ["X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded", "Via"]
)
@pytest.mark.parametrize("value", ["192.0.2.1", "127.0.0.1", ""])
def test_without_a_token_requests_through_a_local_proxy_get_404(
    client: Client, settings: Any, trust: bool, name: str, value: str
) -> None:
    settings.TRUST_PROXY = trust
    assert status(client, **{name: value}) == 404


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1"])
def test_with_a_token_only_requests_that_send_it_may_read(client: Client, settings: Any, address: str) -> None:
    settings.METRICS_TOKEN = TOKEN
    assert status(client, address, Authorization=f"Bearer {TOKEN}") == 200
    assert status(client, address) == 404
    for wrong in (f"Bearer {TOKEN}x", f"bearer {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", "Bearer ", "Bearer \u00e9", ""):
        assert status(client, address, Authorization=wrong) == 404


def test_only_get_and_head_are_allowed(client: Client) -> None:
    assert status(client, method="HEAD") == 200
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert status(Client(enforce_csrf_checks=False), method=method) == 404


def test_it_is_answered_to_any_host_over_plain_http(client: Client, settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert status(client, Host="10.0.0.7:8000") == 200
