"""Builds the OpenAPI document: wire structs become schemas, and answers common to many requests are added."""

from collections.abc import Iterator
from inspect import cleandoc
from typing import Any

from drf_spectacular import openapi
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.permissions import AllowAny

from chat.wire import schemas
from chat.wire.server_frames import Problem
from qader.http.budgets import is_login, is_read

UNSAFE = {"POST", "PATCH", "DELETE"}

Shape = type | tuple[type, ...]

RETRY_AFTER = OpenApiParameter(
    "Retry-After", int, OpenApiParameter.HEADER, response=[429, 503], description="Seconds to wait."
)
REFUSALS = {
    400: "The request is malformed, or its parameters are wrong.",
    401: "Nobody is signed in.",
    403: "The CSRF token is missing or wrong, or the page's origin is not ours.",
    404: "The id in the path is no number.",
    405: "The path has no such method.",
    406: "The `Accept` header excludes JSON.",
    413: "More than 256 KiB.",
    415: "Neither JSON nor a form.",
    429: "More requests than the rate limit allows.",
    503: (
        "The database is away, or too many passwords are being checked. A message is not known to be stored: repeat it "
        "with the same `client_id`."
    ),
}


class AutoSchema(openapi.AutoSchema):
    """Accepts msgspec structs, or a tuple of them, instead of serializers; a text means a `Problem` with that reason.

    Overrides private methods: `extend_schema` replaces the public ones that return serializers.
    """

    def _get_request_for_media_type(self, serializer: Any, direction: Any = "request") -> Any:
        if _is_shape(serializer):
            return _schema(serializer), True
        return super()._get_request_for_media_type(serializer, direction)

    def _get_response_bodies(self, direction: Any = "response") -> Any:
        """Return the answers by status: of the method, of the whole view (`refusals`), and of every request."""
        answers: dict[int, Any] = {}
        common = {status: REFUSALS[status] for status in self._refusals()}
        own: Any = self.get_response_serializers()
        for given in (own, getattr(self.view, "refusals", {}), common):
            for status, answer in given.items():
                said = answers.get(status, answer)
                both = isinstance(said, str) and isinstance(answer, str) and said != answer
                answers[status] = f"{said} {answer}" if both else said
        return {
            str(status): self._get_response_for_code(
                _response(answer), str(status), media_types=[_media_type(answer)], direction=direction
            )
            for status, answer in sorted(answers.items())
        }

    def _refusals(self) -> Iterator[int]:
        yield from (400, 405, 406, 503)
        if not self._is_open():
            yield 401
        if "{" in self.path:
            yield 404
        if is_read(self.method, self.path) or is_login(self.method, self.path):
            yield 429
        if self.method not in UNSAFE:
            return
        yield 413
        if not self._needs_no_token():
            yield 403
            if self.get_request_serializer():
                yield 415

    def _get_request_body(self, direction: Any = "request") -> Any:
        """Return the body; that of a PATCH may be left out, as each of its keys."""
        body = super()._get_request_body(direction)
        if body and self.method == "PATCH":
            body["required"] = False
        return body

    def _is_open(self) -> bool:
        return AllowAny in self.view.permission_classes

    def _needs_no_token(self) -> bool:
        return self.view.authentication_classes == []

    def get_summary(self) -> str:
        """Return what the method does, in one line."""
        return self._docstring_of(getattr(self.view, self.method.lower())).partition("\n")[0].removesuffix(".")

    def get_description(self) -> str:  # type: ignore[override] # drf-spectacular has other arguments
        """Return what the view is about."""
        return self._docstring_of(type(self.view))

    @staticmethod
    def _docstring_of(described: Any) -> str:
        return cleandoc(described.__doc__ or "")

    def get_override_parameters(self) -> list[Any]:
        """Return the parameters of the view that are not in its path, and `Retry-After`."""
        return [*super().get_override_parameters(), RETRY_AFTER]

    def get_auth(self) -> list[dict[str, Any]]:
        """Return what a request needs: the session cookie, and the CSRF token if it changes something."""
        cookie = [] if self._is_open() else ["cookieAuth"]
        token = ["csrfToken"] if self.method in UNSAFE and not self._needs_no_token() else []
        return [{scheme: [] for scheme in cookie + token}]


def _is_shape(given: Any) -> bool:
    return isinstance(given, tuple) or given in schemas.OBJECTS


def _schema(shape: Shape) -> schemas.Schema:
    if isinstance(shape, tuple):
        return {"anyOf": [_schema(one) for one in shape]}
    return {"$ref": schemas.REF.format(name=schemas.name_of(shape))}


def _media_type(answer: Any) -> str:
    is_page = isinstance(answer, OpenApiResponse) and answer.response is OpenApiTypes.STR
    return "text/html" if is_page else "application/json"


def _response(answer: Any) -> Any:
    if isinstance(answer, str):
        answer = OpenApiResponse(Problem, answer)
    elif not isinstance(answer, OpenApiResponse):
        answer = OpenApiResponse(answer)
    if _is_shape(answer.response):
        shapes = answer.response if isinstance(answer.response, tuple) else (answer.response,)
        description = answer.description or " ".join(cleandoc(shape.__doc__ or "") for shape in shapes)
        answer = OpenApiResponse(_schema(answer.response), description, answer.examples)
    return answer


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add the schemas that the document refers to."""
    found = result["components"].setdefault("schemas", {})
    result["components"]["schemas"] = found | schemas.needed(result)
    return result
