"""The AsyncAPI document of the sockets, made from the structs of the frames; `GET /api/asyncapi.yaml`."""

from collections.abc import Iterable
from inspect import cleandoc
from typing import get_args

import msgspec
from django.conf import settings

from chat.errors import ERROR_CODES, CloseCode, FrameCode
from chat.wire import schemas
from chat.wire.client_frames import CLIENT_FRAME_EXAMPLES
from chat.wire.server_frames import SERVER_FRAME_EXAMPLES

DESCRIPTION = """\
The WebSocket API of the chat between a student and their mentor. The REST API is described in `/api/schema/`.

Every frame is a text frame with one JSON object. The session cookie identifies the user. The page's origin must be the
server's own or one that it trusts. The server answers a refused handshake with HTTP 403; `GET /api/v1/auth/me/` tells
the reason.

An invalid frame does not close the socket: the server answers with an error that has a code. Clients must ignore keys
and frame types that they do not know.

After a lost connection, connect with `after`, the id of the last received message, or 0 for none. The server first
sends the missed messages, then `resume_complete`. The server acknowledges a message by sending it back as
`new_message`. Until then, repeat it with the same `client_id`: it is stored only once.
"""

MARK_READ = {"type": "boolean", "description": "`false` connects without marking messages as read."}
AFTER = {
    "type": "integer",
    "minimum": 0,
    "description": "The id of the last received message, 0 for none: what came after it is sent first, at most 500.",
}
PRESENCE = {"type": "integer", "enum": [1], "description": "Sends the other participant's presence."}
EVENTS = {
    "type": "integer",
    "enum": [1],
    "description": "Sends the kinds of frames that older clients do not know: `conversation_state`, `messages_erased`.",
}
QUERY = {"mark_read": MARK_READ, "after": AFTER, "presence": PRESENCE, "events": EVENTS}

PATHS: dict[str, schemas.Schema] = {
    "myConversation": {
        "address": "/ws/chat/my-conversation/",
        "description": "The student's conversation with their mentor.",
    },
    "conversation": {
        "address": "/ws/chat/conversations/{id}/",
        "description": "A conversation of a teacher or trainer.",
        "parameters": {"id": {"description": "The conversation's id."}},
    },
    "inbox": {
        "address": "/ws/chat/inbox/",
        "description": "Updates of all conversations of a student or a mentor; messages cannot be sent here.",
    },
}


def asyncapi() -> schemas.Schema:
    """Return the document, without its `servers`."""
    received, sent = _messages(schemas.CONVERSATION_CLIENT_FRAMES), _messages(schemas.CONVERSATION_FRAMES)
    inbox_received, inbox_sent = _messages(schemas.INBOX_CLIENT_FRAMES), _messages(schemas.INBOX_FRAMES)
    conversation = {**_channel(received | sent), **_query_binding(QUERY)}
    inbox = {**_channel(inbox_received | inbox_sent), **_query_binding({"presence": PRESENCE, "events": EVENTS})}
    messages = received | sent | inbox_received | inbox_sent
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Qader chat", "version": "1", "description": DESCRIPTION + _codes()},
        "defaultContentType": "application/json",
        "channels": {name: path | (inbox if name == "inbox" else conversation) for name, path in PATHS.items()},
        "operations": {
            **_operations("myConversation", received, sent),
            **_operations("conversation", received, sent),
            **_operations("inbox", inbox_received, inbox_sent),
        },
        "components": {
            "messages": messages,
            "schemas": schemas.needed(messages),
            "securitySchemes": {
                "session": {"type": "httpApiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}
            },
        },
    }


def _channel(messages: Iterable[str]) -> schemas.Schema:
    return {"messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages}}


def _query_binding(parameters: schemas.Schema) -> schemas.Schema:
    """Return the binding that describes the query parameters of an address."""
    return {"bindings": {"ws": {"query": {"type": "object", "properties": parameters}}}}


def _operations(channel: str, received: Iterable[str], sent: Iterable[str]) -> schemas.Schema:
    """Return the operations of a channel, from the server's side: it receives the frames of clients."""
    name = channel[0].upper() + channel[1:]
    return {
        f"{action}{name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
        }
        for action, messages in (("receive", received), ("send", sent))
    }


def _messages(frames: Iterable[schemas.Struct]) -> dict[str, schemas.Schema]:
    """Return the message of each frame by its name."""
    return {
        schemas.name_of(frame): {
            "name": schemas.name_of(frame),
            "summary": cleandoc(frame.__doc__ or ""),
            "payload": {"$ref": schemas.REF.format(name=schemas.name_of(frame))},
            "examples": [
                {"payload": msgspec.to_builtins(example)}
                for example in CLIENT_FRAME_EXAMPLES + SERVER_FRAME_EXAMPLES
                if type(example) is frame
            ],
        }
        for frame in frames
    }


def _codes() -> str:
    errors = "".join(f"* `{code}`: {ERROR_CODES[code]}\n" for code in get_args(FrameCode))
    closes = "".join(f"* `{int(code)}`: {code.meaning}\n" for code in CloseCode)
    return f"\nError codes:\n\n{errors}\nClose codes:\n\n{closes}"
