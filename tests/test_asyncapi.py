"""The AsyncAPI document is valid and complete."""

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import yaml
from django.test import Client

from chat.errors import ERROR_CODES, CloseCode
from chat.routing import websocket_urlpatterns
from chat.wire import schemas
from chat.wire.asyncapi import asyncapi
from chat.wire.server_frames import Frame
from tests.node import installed

PATHS = {"/ws/chat/my-conversation/", "/ws/chat/conversations/{id}/", "/ws/chat/inbox/"}


@pytest.fixture
def document(client: Client) -> dict[str, Any]:
    """The document as it is served."""
    answer = client.get("/api/asyncapi.yaml")
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/yaml")
    served: dict[str, Any] = yaml.safe_load(answer.content)
    return served


def test_it_is_valid_by_the_official_schema(document: dict[str, Any]) -> None:
    official = json.loads((installed() / "@asyncapi/specs/schemas/3.0.0.json").read_bytes())
    errors = [error.message for error in jsonschema_rs.validator_for(official).iter_errors(document)]
    assert errors == []


def test_it_says_where_it_came_from(document: dict[str, Any]) -> None:
    assert document.pop("servers")["this"]["host"] == "testserver"
    assert document == json.loads(json.dumps(asyncapi()))


def test_its_references_lead_somewhere(document: dict[str, Any]) -> None:
    def follow(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found: Any = document
                for step in node["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            node = list(node.values())
        for part in node if isinstance(node, list) else []:
            follow(part)

    follow(document)


def test_it_has_every_path_and_every_frame(document: dict[str, Any]) -> None:
    assert {channel["address"] for channel in document["channels"].values()} == PATHS
    routes = {str(route.pattern).replace("<int:conversation_id>", "{id}") for route in websocket_urlpatterns}
    assert {f"/{route}" for route in routes if route} == PATHS
    structs: tuple[type[msgspec.Struct], ...] = (*Frame.__subclasses__(), *schemas.CONVERSATION_CLIENT_FRAMES)
    frames = {schemas.name_of(struct) for struct in structs}
    assert set(document["components"]["messages"]) == frames | {"ErrorFrame"}


def test_it_explains_every_code(document: dict[str, Any]) -> None:
    text = document["info"]["description"]
    assert all(f"`{code}`" in text for code in document["components"]["schemas"]["FrameErrorCode"]["enum"])
    assert all(f"`{int(code)}`: {code.meaning}" in text for code in CloseCode)
    assert all(meaning in text for code, meaning in ERROR_CODES.items() if f"`{code}`" in text)


def test_every_frame_has_an_example_that_is_one(document: dict[str, Any]) -> None:
    for message in document["components"]["messages"].values():
        schema = {"components": document["components"], **message["payload"]}
        assert message["examples"], message["name"]
        for example in message["examples"]:
            jsonschema_rs.validate(schema, example["payload"])
