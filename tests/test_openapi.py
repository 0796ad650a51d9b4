"""The OpenAPI document is complete and valid, and its page loads nothing external."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from chat.wire import schemas
from qader.http import documents

ALWAYS = {400, 405, 406, 503}
MEDIA_TYPES = {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
OPERATIONS = {
    "GET /api/v1/auth/csrf/": {200},
    "POST /api/v1/auth/login/": {200, 403, 413, 415, 429},
    "POST /api/v1/auth/logout/": {204, 401, 403, 413},
    "GET /api/v1/auth/me/": {200, 401},
    "PATCH /api/v1/auth/me/": {200, 401, 403, 413, 415, 429},
    "GET /api/v1/chat/my-conversation/": {200, 401, 403, 404, 429},
    "GET /api/v1/chat/my-conversation/messages/": {200, 401, 403, 404, 429},
    "POST /api/v1/chat/my-conversation/messages/": {200, 201, 401, 403, 404, 413, 415, 429},
    "GET /api/v1/chat/my-conversation/former/": {200, 401, 403, 404, 429},
    "GET /api/v1/chat/my-conversation/former/{conversation_pk}/messages/": {200, 401, 403, 404, 429},
    "POST /api/v1/chat/my-conversation/former/{conversation_pk}/messages/": {401, 403, 404, 413},
    "GET /api/v1/chat/teacher/conversations/": {200, 401, 403, 404, 429},
    "GET /api/v1/chat/teacher/conversations/{conversation_pk}/messages/": {200, 401, 403, 404, 429},
    "POST /api/v1/chat/teacher/conversations/{conversation_pk}/messages/": {200, 201, 401, 403, 404, 413, 415, 429},
    "GET /api/v1/chat/teacher/conversations/{conversation_pk}/handoff-note/": {200, 401, 403, 404, 429},
    "POST /api/v1/chat/conversations/{conversation_pk}/mark-read/": {200, 401, 403, 404, 413, 429},
    "POST /api/v1/chat/conversations/{conversation_pk}/done/": {200, 401, 403, 404, 413, 429},
    "POST /api/v1/chat/messages/{message_pk}/report/": {200, 201, 401, 403, 404, 413, 415, 429},
    "GET /api/v1/notify/push-key/": {200, 401, 404, 429},
    "POST /api/v1/notify/subscriptions/": {200, 201, 401, 403, 404, 413, 415, 429},
    "DELETE /api/v1/notify/subscriptions/": {204, 401, 403, 413, 415, 429},
    "GET /api/v1/notify/unsubscribe/{token}/": {200, 404, 429},
    "POST /api/v1/notify/unsubscribe/{token}/": {200, 404, 413, 429},
}


def test_the_document_lists_all_operations_and_responses(client: Client) -> None:
    answer = client.get("/api/schema/")
    assert answer.status_code == 200
    document = yaml.safe_load(answer.content)
    said = {
        f"{method.upper()} {path}": set(map(int, operation["responses"]))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert said == {operation: statuses | ALWAYS for operation, statuses in OPERATIONS.items()}
    assert document["openapi"] == "3.1.0"


def test_its_schemas_are_those_of_the_wire(client: Client) -> None:
    document = client.get("/api/schema/?format=json", headers={"Accept": "application/vnd.oai.openapi+json"}).json()
    known = schemas.components()
    login = document["components"]["schemas"].pop("LoginRequest")
    assert login["required"] == ["password", "username"]
    assert document["components"]["schemas"] == {name: known[name] for name in document["components"]["schemas"]}
    assert set(document["components"]["schemas"]) >= {"Me", "Message", "MessagePage", "Conversation", "Problem"}
    sent = document["paths"]["/api/v1/chat/my-conversation/messages/"]["post"]
    assert sent["requestBody"] == {
        "content": {name: {"schema": {"$ref": "#/components/schemas/MessagePost"}} for name in MEDIA_TYPES},
        "required": True,
    }
    assert sent["security"] == [{"cookieAuth": [], "csrfToken": []}]
    assert set(sent["responses"]["429"]["headers"]) == {"Retry-After"}


def test_every_operation_has_a_summary_and_a_description(client: Client) -> None:
    document = yaml.safe_load(client.get("/api/schema/").content)
    said = {
        (path, method): (operation["summary"], operation["description"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert len(set(said.values())) == len(said) == len(OPERATIONS)
    assert all(
        0 < len(summary) <= 120 and "\n" not in summary and description for summary, description in said.values()
    )


DOCUMENTS = ["/api/schema/", "/api/schema/?format=json", "/api/asyncapi.yaml"]
# As Chromium, Firefox and Safari send it when somebody opens an address.
NAVIGATION = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize("path", DOCUMENTS)
def test_a_browser_shows_a_document_and_programs_get_its_own_type(client: Client, path: str) -> None:
    shown, read = client.get(path, headers={"Accept": NAVIGATION}), client.get(path, headers={"Accept": "*/*"})
    assert shown["Content-Type"] == "text/plain; charset=utf-8"
    assert read["Content-Type"].partition(";")[0] in {"application/yaml", *OPENAPI_TYPES}
    for answer in (shown, read):
        assert "Content-Disposition" not in answer.headers
        assert "Accept" in answer["Vary"].split(", ")
    assert shown.content == read.content


OPENAPI_TYPES = {"application/vnd.oai.openapi", "application/vnd.oai.openapi+json"}


@pytest.mark.parametrize("path", DOCUMENTS)
def test_the_first_requests_of_a_process_may_come_at_once(path: str) -> None:
    documents._openapi.cache_clear()
    documents._asyncapi.cache_clear()
    together = Barrier(8)

    def ask(_: int) -> tuple[int, bytes]:
        together.wait()
        answer = Client().get(path)
        return answer.status_code, answer.content

    with ThreadPoolExecutor(8) as threads:
        told = set(threads.map(ask, range(8)))
    assert len(told) == 1
    assert told.pop()[0] == 200


def test_a_document_is_made_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/api/schema/").content
    monkeypatch.setattr(SchemaGenerator, "get_schema", None)  # would fail if it were called again
    assert client.get("/api/schema/").content == first


def test_it_is_valid_and_made_without_a_warning(tmp_path: Path) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "openapi.yaml"))


def test_the_page_loads_nothing_external_and_has_no_inline_script(client: Client) -> None:
    answer = client.get("/api/docs/")
    assert answer.status_code == 200
    page = answer.content.decode()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(address.startswith("/") and not address.startswith("//") for address in loaded)
    assert len(re.findall("<script", page)) == len(re.findall(r"<script src=", page)) == 3
    assert "<style" not in page
    assert answer["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    script = client.get("/api/docs/?script=")
    assert script["Content-Type"] == "application/javascript"
    assert 'url: "/api/schema/"' in script.content.decode().replace("\\u002D", "-")


@pytest.mark.parametrize("name", ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"])
def test_the_page_has_its_files(name: str) -> None:
    assert finders.find(f"drf_spectacular_sidecar/swagger-ui-dist/{name}")
