"""The contract's objects, frames and codes as TypeScript, from their JSON Schemas: `static/chat/types.d.ts`.

The output is formatted as Biome would (biome.jsonc); `make check` verifies that.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

from chat.errors import ERROR_CODES, CloseCode
from chat.wire import schemas

TYPES = Path(__file__).parents[1] / "static" / "chat" / "types.d.ts"
HEADER = "// Made by `make generate` from the structs that the server encodes and reads. Do not edit.\n"
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
COMMENT_WIDTH = 116
LINE_WIDTH = 120  # as in biome.jsonc
TAB = "\t"


def typescript() -> str:
    """Return the whole file."""
    parts = [_declaration(name, schema) for name, schema in schemas.components().items()]
    unions = {
        "ErrorCode": ("Every code that an error may have.", schemas.ENUMS),
        "ConversationFrame": (
            "Frames that the server sends on a conversation's socket.",
            map(schemas.name_of, schemas.CONVERSATION_FRAMES),
        ),
        "InboxFrame": ("Frames that the server sends on an inbox.", map(schemas.name_of, schemas.INBOX_FRAMES)),
        "ConversationClientFrame": (
            "Frames that a client may send on a conversation's socket.",
            map(schemas.name_of, schemas.CONVERSATION_CLIENT_FRAMES),
        ),
        "InboxClientFrame": (
            "Frames that a client may send on an inbox.",
            map(schemas.name_of, schemas.INBOX_CLIENT_FRAMES),
        ),
    }
    parts += [_union(name, members, description) for name, (description, members) in unions.items()]
    close_codes = {str(int(code)): code.meaning for code in CloseCode}
    parts.append(_union("CloseCode", close_codes, "Why the server closes a socket.", close_codes))
    return "\n".join([HEADER, *parts])


def _declaration(name: str, schema: schemas.Schema) -> str:
    if "properties" not in schema:
        values = [json.dumps(value) for value in schema["enum"]]
        meanings = {json.dumps(code): meaning for code, meaning in ERROR_CODES.items()}
        return _union(name, values, schema.get("description"), meanings)
    fields = "".join(_fields(schema))
    return f"{_comment(schema.get('description'))}export interface {name} {{\n{fields}}}\n"


def _fields(schema: schemas.Schema) -> Iterator[str]:
    for name, field in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else "?"
        yield f"{_comment(_description(field), TAB)}{TAB}{name}{optional}: {_type(field)};\n"


def _description(field: schemas.Schema) -> str | None:
    parts = [field, *field.get("anyOf", ())]
    return next((part["description"] for part in parts if "description" in part), None)


def _type(schema: schemas.Schema) -> str:
    """Return the type of a value; raises KeyError for a kind of schema that is not supported yet."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if schema["type"] == "array":
        return f"Array<{_type(schema['items'])}>"
    return SIMPLE[schema["type"]]


def _union(name: str, members: Iterable[str], description: str | None, meanings: dict[str, Any] | None = None) -> str:
    meanings = meanings or {}
    members = list(members)
    line = f"export type {name} = {' | '.join(members)};\n"
    if len(line) > LINE_WIDTH + 1 or any(member in meanings for member in members):
        lines = "".join(f"{_comment(meanings.get(member), TAB)}{TAB}| {member}\n" for member in members)
        line = f"export type {name} =\n{lines.rstrip()};\n"
    return _comment(description) + line


def _comment(text: str | None, indent: str = "") -> str:
    if not text:
        return ""
    lines = [line for part in text.splitlines() for line in (wrap(part, COMMENT_WIDTH - len(indent) - 7) or [""])]
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    return "".join([f"{indent}/**\n", *(f"{indent} * {line}".rstrip() + "\n" for line in lines), f"{indent} */\n"])
