"""The API documents: OpenAPI for REST, a page that shows it, and AsyncAPI for sockets. Each is made once."""

import threading
from functools import cache
from typing import Any

import yaml
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import require_safe
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from chat.wire.asyncapi import asyncapi

SESSION = {"$ref": "#/components/securitySchemes/session"}

_making = threading.Lock()  # drf-spectacular's generator cannot run in two threads at once


class SchemaView(SpectacularAPIView):
    """The OpenAPI document, as YAML or JSON."""

    schema = None  # not part of the document

    def get_renderers(self) -> list[BaseRenderer]:
        """Return the forms of the document that `?format=` names, all of them if it names none."""
        renderers: list[BaseRenderer] = super().get_renderers()
        named = self.request.GET.get("format")
        return [renderer for renderer in renderers if renderer.format == named] or renderers

    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer the document."""
        renderer = request.accepted_renderer
        with _making:
            text = _openapi(renderer.format)
        return _document(request, text, f"{renderer.media_type}; charset=utf-8")


@cache
def _openapi(form: str) -> bytes:
    renderer = OpenApiJsonRenderer() if form == "json" else OpenApiYamlRenderer()
    return renderer.render(SchemaGenerator().get_schema(request=None, public=True))


@require_safe
def asyncapi_yaml(request: HttpRequest) -> HttpResponse:
    """Answer the AsyncAPI document; its server is the host of this request."""
    protocol = "wss" if request.is_secure() else "ws"
    server = {"host": request.get_host(), "protocol": protocol, "security": [SESSION]}
    with _making:
        text = _asyncapi()
    return _document(request, (text + _yaml({"servers": {"this": server}})).encode(), "application/yaml")


@cache
def _asyncapi() -> str:
    return _yaml(asyncapi())


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _document(request: HttpRequest | Request, text: bytes, content_type: str) -> HttpResponse:
    """Answer a document. A browser that opens its address gets plain text, which it shows: YAML it would download."""
    opened = "text/html" in request.headers.get("Accept", "").lower()
    response = HttpResponse(text, content_type="text/plain; charset=utf-8" if opened else content_type)
    patch_vary_headers(response, ["Accept"])
    return response


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI for the OpenAPI document. Scripts and styles are our own files, none are inline."""

    schema = None  # not part of the document
    metadata_class = None  # no OPTIONS: its answer is no page
    url_name = "schema"
    template_name = "chat/docs.html"
