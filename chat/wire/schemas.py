"""The JSON Schema of every object and frame, made from the structs."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any, get_args

import msgspec
from django.conf import settings

from accounts.serializers import CsrfBody, LoginProblem, MeBody, MeChanges, ProfileBody
from chat.errors import FrameCode, RestCode
from chat.wire.client_frames import ClientFrame, MessagePost, Ping, ReportPost, SendMessage
from chat.wire.moderation import HandoffNoteBody
from chat.wire.notify_objects import PushKeyBody, PushSubscriptionPost, SubscriptionEndpoint
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
    ReportBody,
    ReportProblem,
)

Schema = dict[str, Any]
Struct = type[msgspec.Struct]

# Objects in requests and answers of REST.
OBJECTS: tuple[Struct, ...] = (
    *(ProfileBody, MeBody, MeChanges, CsrfBody, LoginProblem),
    *(MessageBody, MessagePage, MessagePost, ConversationBody, ConversationPage, MarkedBody),
    *(ReportPost, ReportBody, HandoffNoteBody),
    *(Problem, MessageProblem, PageProblem, ReportProblem),
    *(PushKeyBody, PushSubscriptionPost, SubscriptionEndpoint),
)
# Frames on a socket, by its kind and by the side that sends them.
CONVERSATION_FRAMES: tuple[Struct, ...] = get_args(ConversationFrame)
CONVERSATION_CLIENT_FRAMES: tuple[Struct, ...] = (SendMessage, *ClientFrame.__subclasses__())
INBOX_FRAMES: tuple[Struct, ...] = get_args(InboxFrame)
INBOX_CLIENT_FRAMES: tuple[Struct, ...] = (Ping,)
ALL = dict.fromkeys(OBJECTS + CONVERSATION_CLIENT_FRAMES + CONVERSATION_FRAMES + INBOX_FRAMES)

# Enumerations that get a schema of their own.
ENUMS = {"FrameErrorCode": FrameCode, "RestErrorCode": RestCode}

REF = "#/components/schemas/{name}"


def name_of(struct: Struct) -> str:
    """Return a struct's public name: `Message` for `MessageBody`."""
    return struct.__name__.removesuffix("Body")


def components() -> dict[str, Schema]:
    """Return the schema of each object and frame by name. References have the form of OpenAPI and AsyncAPI."""
    _, found = msgspec.json.schema_components(ALL, ref_template=REF)
    enums = {name: {"type": "string", "enum": sorted(get_args(literal))} for name, literal in ENUMS.items()}
    schemas = enums | {name.removesuffix("Body"): _with_public_names(schema) for name, schema in found.items()}
    for name, field in (("MessagePost", "content"), ("SendMessage", "message")):
        schemas[name]["properties"][field]["maxLength"] = settings.CHAT_MAX_MESSAGE_LENGTH
    del schemas["Message"]["properties"]["is_erased"]["default"]  # it is for events of older releases alone
    schemas["Message"]["required"] = list(schemas["Message"]["properties"])
    return schemas


def needed(document: Any) -> dict[str, Schema]:
    """Return the schemas that a document refers to, directly or through other schemas."""
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


def _with_public_names(node: Any) -> Any:
    """Return a part of a schema with public names."""
    if isinstance(node, list):
        return [_with_public_names(part) for part in node]
    if not isinstance(node, dict):
        return node
    for name, literal in ENUMS.items():
        if set(node.get("enum", ())) == set(get_args(literal)):
            return {"$ref": REF.format(name=name)}
    if "$ref" in node:
        return {"$ref": node["$ref"].removesuffix("Body")}
    if "description" in node:
        node["description"] = cleandoc(node["description"])
    return {key: _with_public_names(part) for key, part in node.items() if key != "title"}
