"""Checks every frame, close code and REST answer that a test sees against the documented schemas."""

import gzip
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import sync_and_async_middleware
from drf_spectacular.generators import SchemaGenerator

from chat.errors import CloseCode
from chat.wire import schemas

CLOSE_CODES = frozenset(map(int, CloseCode)) | {1000}  # the last one when the client itself said goodbye
ELSEWHERE = frozenset({400, 404, 405, 406, 413})
REDIRECT = 308  # to the slash at the end of the path, or to TLS
UNDESCRIBED = frozenset({"HEAD", "OPTIONS"})


def closed(schema: Any) -> Any:
    """Return the schema such that an object has the keys that it names and no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(part) for key, part in schema.items()}
    return parts | {"additionalProperties": False} if "properties" in parts else parts


def _validator(schema: Any, components: Any) -> Any:
    return jsonschema_rs.validator_for(schema | {"components": components}, validate_formats=True)


@cache
def _validators(inbox: bool) -> dict[str | int | None, Any]:
    """Return what checks a frame, by its `type`; an error has none."""
    components = closed({"schemas": schemas.components()})
    frames = schemas.INBOX_FRAMES if inbox else schemas.CONVERSATION_FRAMES
    return {
        frame.__struct_config__.tag: _validator({"$ref": schemas.REF.format(name=schemas.name_of(frame))}, components)
        for frame in frames
    }


def check_frame(path: str, text: str | bytes) -> None:
    """Fail unless this is a frame that the socket of this path may say."""
    frame = json.loads(text)
    check = _validators("/inbox/" in path).get(frame.get("type"))
    assert check, f"{path} says a frame of a kind that is not documented: {frame}"
    errors = [error.message for error in check.iter_errors(frame)]
    assert not errors, f"{path} says {frame}: {errors}"


def check_close(code: int) -> None:
    """Fail unless a server may close with this code."""
    assert code in CLOSE_CODES, f"a socket was closed with {code}, which is not documented"


class Answers:
    """The OpenAPI document, as what is checked against."""

    def __init__(self) -> None:
        document = closed(SchemaGenerator().get_schema(request=None, public=True))
        self.components = document["components"]
        self.operations = [
            (re.compile(re.sub(r"{\w+}", "[0-9]+", path.replace("{token}", "[^/]+"))), methods)
            for path, methods in document["paths"].items()
        ]
        self.validators: dict[str, Any] = {}

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], content: bytes) -> None:
        """Fail unless the document says that this request may be answered so."""
        if method in UNDESCRIBED or status == REDIRECT or not path.startswith("/api/v1/"):
            return
        line = f"{method} {path}: {status} {content[:500]!r}"
        operation = self.operation(method, path)
        answer = operation["responses"].get(str(status)) if operation else self.elsewhere(status)
        assert answer, f"{line} is not documented"
        for header in answer.get("headers", ()):
            assert header in headers, f"{line} lacks {header}"
        if "content" not in answer:
            assert not content, f"{line} has content"
            return
        if "text/html" in answer["content"]:
            assert headers["Content-Type"] == "text/html; charset=utf-8", f"{line} is {headers['Content-Type']}"
            return
        assert headers["Content-Type"] == "application/json", f"{line} is {headers['Content-Type']}"
        errors = [error.message for error in self.validator(answer).iter_errors(json.loads(content))]
        assert not errors, f"{line}: {errors}"

    def operation(self, method: str, path: str) -> Any:
        """Return what the document says of this request; None where there is no such path or method."""
        return next(
            (methods.get(method.lower()) for pattern, methods in self.operations if pattern.fullmatch(path)), None
        )

    def elsewhere(self, status: int) -> Any:
        """Return what may be answered where no operation is: no such path, no such method."""
        problem = {"schema": {"$ref": schemas.REF.format(name="Problem")}}
        refused = {"content": {"application/json": problem}}
        return refused if status in ELSEWHERE else None

    def validator(self, answer: Any) -> Any:
        """Return what checks the body of this answer."""
        schema = answer["content"]["application/json"]["schema"]
        key = json.dumps(schema)
        if key not in self.validators:
            self.validators[key] = _validator(schema, self.components)
        return self.validators[key]


@cache
def answers() -> Answers:
    """Return the document, read once."""
    return Answers()


def check_response(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Fail unless the document says that this request may be answered so."""
    if not response.streaming:  # static files; never REST
        length = len(response.content)
        assert request.method == "HEAD" or int(response.headers.get("Content-Length", length)) == length, request.path
        is_packed = response.headers.get("Content-Encoding") == "gzip"
        content = gzip.decompress(response.content) if is_packed else response.content
        answers().check(request.method or "", request.path, response.status_code, response.headers, content)
    return response


@sync_and_async_middleware
def middleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Check every answer of REST; outermost in the settings of every test."""
    if iscoroutinefunction(get_response):

        async def checked_later(request: HttpRequest) -> HttpResponse:
            return check_response(request, await get_response(request))

        return checked_later

    def checked(request: HttpRequest) -> HttpResponse:
        return check_response(request, get_response(request))

    return checked
