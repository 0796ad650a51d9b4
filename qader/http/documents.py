"""The API documents: AsyncAPI for sockets, and a page that shows the OpenAPI document of REST."""

import yaml
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from drf_spectacular.views import SpectacularSwaggerSplitView

from chat.wire.asyncapi import asyncapi

SESSION = {"$ref": "#/components/securitySchemes/session"}


@require_safe
def asyncapi_yaml(request: HttpRequest) -> HttpResponse:
    """Answer the AsyncAPI document; its server is the host of this request."""
    protocol = "wss" if request.is_secure() else "ws"
    server = {"host": request.get_host(), "protocol": protocol, "security": [SESSION]}
    text = yaml.safe_dump(asyncapi() | {"servers": {"this": server}}, sort_keys=False, allow_unicode=True)
    return HttpResponse(text, content_type="application/yaml")


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI for the OpenAPI document. Scripts and styles are our own files, none are inline."""

    schema = None  # not part of the document
    url_name = "schema"
    template_name = "chat/docs.html"
