"""The contract as data: the JSON Schema of every object and frame, from the structs that are encoded and read."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, get_args

import msgspec
from django.conf import settings

from accounts.serializers import CsrfBody, LoginProblem, MeBody, ProfileBody
from chat.errors import FrameCode, RestCode
from chat.wire.client_frames import ClientFrame, MessagePost, Ping, SendMessage
from chat.wire.server_frames import (
    ConversationBody,
    ConversationFrame,
    ConversationPage,
    InboxFrame,
    MarkedBody,
    MessageBody,
    MessagePage,
    MessageProblem,
    PageProblem,
    Problem,
)

Schema = dict[str, Any]
Struct = type[msgspec.Struct]

# What REST takes and answers.
OBJECTS: tuple[Struct, ...] = (
    *(ProfileBody, MeBody, CsrfBody, LoginProblem),
    *(MessageBody, MessagePage, MessagePost, ConversationBody, ConversationPage, MarkedBody),
    *(Problem, MessageProblem, PageProblem),
)
# What is said on a socket, by path and by whom.
CONVERSATION_FRAMES: tuple[Struct, ...] = get_args(ConversationFrame)
CONVERSATION_CLIENT_FRAMES: tuple[Struct, ...] = (SendMessage, *ClientFrame.__subclasses__())
INBOX_FRAMES: tuple[Struct, ...] = get_args(InboxFrame)
INBOX_CLIENT_FRAMES: tuple[Struct, ...] = (Ping,)
ALL = dict.fromkeys(OBJECTS + CONVERSATION_CLIENT_FRAMES + CONVERSATION_FRAMES + INBOX_FRAMES)

# Closed sets of words that get a name of their own.
WORDS = {"FrameErrorCode": FrameCode, "RestErrorCode": RestCode}

REF = "#/components/schemas/{name}"


def name_of(struct: Struct) -> str:
    """Return a struct's name outside: `Message` for `MessageBody`."""
    return struct.__name__.removesuffix("Body")


def components() -> dict[str, Schema]:
    """Return the schema of each object and frame by its name; they refer to each other as OpenAPI and AsyncAPI do."""
    _, found = msgspec.json.schema_components(ALL, ref_template=REF)
    words = {name: {"type": "string", "enum": sorted(get_args(literal))} for name, literal in WORDS.items()}
    schemas = words | {name.removesuffix("Body"): _outside(schema) for name, schema in found.items()}
    for name, field in (("MessagePost", "content"), ("SendMessage", "message")):
        schemas[name]["properties"][field]["maxLength"] = settings.CHAT_MAX_MESSAGE_LENGTH
    return schemas


def needed(document: Any) -> dict[str, Schema]:
    """Return the schemas that a document refers to, and those that they refer to."""
    known, found = components(), dict[str, Schema]()
    references = set(_references(document)) & set(known)
    while missing := references - set(found):
        found |= {name: known[name] for name in missing}
        references |= set(_references(found))
    return {name: schema for name, schema in known.items() if name in found}


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        node = list(node.values())
    for part in node if isinstance(node, list) else ():
        yield from _references(part)


def _outside(node: Any) -> Any:
    """Return a part of a schema with the names that it has outside."""
    if isinstance(node, list):
        return [_outside(part) for part in node]
    if not isinstance(node, dict):
        return node
    for name, literal in WORDS.items():
        if set(node.get("enum", ())) == set(get_args(literal)):
            return {"$ref": REF.format(name=name)}
    if "$ref" in node:
        return {"$ref": node["$ref"].removesuffix("Body")}
    if "description" in node:
        node["description"] = cleandoc(node["description"])
    return {key: _outside(part) for key, part in node.items() if key != "title"}
