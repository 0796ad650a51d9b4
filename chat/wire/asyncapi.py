"""The AsyncAPI document: what is received on a socket by whom, from the structs; `GET /api/asyncapi.yaml`."""

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
The live half of the chat between a student and their mentor; the other half is REST, see `/api/schema/`.

Every frame is one JSON object as text. The session cookie says who connects, and the page's origin must be the
server's own or one that it trusts. A handshake that is refused is answered by HTTP 403: ask `GET /api/v1/auth/me/` for
the reason.

The socket stays open whatever is wrong with a frame: the answer is an error with a code. Keys that a client does not
know are to be ignored, as are frames whose `type` it does not know.

After a connection was lost, connect with `after`, the id of the last message that was received: what was missed comes
first, then `resume_complete`. A message is acknowledged by its own `new_message`; until then repeat it under the same
`client_id`: it is stored once.
"""

MARK_READ = {"type": "boolean", "description": "`false` connects without marking what was received as read."}
AFTER = {"type": "integer", "description": "The id of the last message received: tell what came after it first."}
PRESENCE = {"type": "integer", "enum": [1], "description": "Tell whether the other side is there."}
QUERY = {"mark_read": MARK_READ, "after": AFTER, "presence": PRESENCE}

PATHS: dict[str, schemas.Schema] = {
    "myConversation": {
        "address": "/ws/chat/my-conversation/",
        "description": "A student, in the conversation with their mentor.",
    },
    "conversation": {
        "address": "/ws/chat/conversations/{id}/",
        "description": "The teacher or trainer of that conversation.",
        "parameters": {"id": {"description": "The conversation's id."}},
    },
    "inbox": {
        "address": "/ws/chat/inbox/",
        "description": "A student or a mentor: news of all their conversations; nothing can be sent.",
    },
}


def asyncapi() -> schemas.Schema:
    """Return the document, without the server that it is about."""
    received, sent = _messages(schemas.CONVERSATION_CLIENT_FRAMES), _messages(schemas.CONVERSATION_FRAMES)
    inbox_received, inbox_sent = _messages(schemas.INBOX_CLIENT_FRAMES), _messages(schemas.INBOX_FRAMES)
    conversation = {**_channel(received | sent), **_asked(QUERY)}
    inbox = {**_channel(inbox_received | inbox_sent), **_asked({"presence": PRESENCE})}
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


def _asked(parameters: schemas.Schema) -> schemas.Schema:
    """Return what may be asked for in the query of an address."""
    return {"bindings": {"ws": {"query": {"type": "object", "properties": parameters}}}}


def _operations(channel: str, received: Iterable[str], sent: Iterable[str]) -> schemas.Schema:
    """Return what the server does there: it receives what a client says."""
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
