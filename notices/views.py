"""The REST views of notices: a browser's subscription to pushes, and the link that switches e-mails off."""

from typing import Any

import msgspec
from django.conf import settings
from django.http import HttpRequest, HttpResponse, QueryDict
from django.template.loader import render_to_string
from django.utils import translation
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer, StaticHTMLRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import UserProfile
from chat import services
from chat.errors import ClientError
from chat.runtime.database import until_unlocked
from chat.wire.notify_objects import PushKeyBody, PushSubscriptionPost, SubscriptionEndpoint
from notices.encryption import auth_secret, browser_key
from notices.endpoints import EndpointNotAllowedError, host_of
from notices.keys import public_key
from notices.models import MAX_BYTES
from notices.subscriptions import end_subscription, save_subscription
from notices.unsubscribe import user_of

NOT_CONFIGURED = "The server has no key for Web Push."


def _private_key() -> str:
    """Return the key of Web Push; 404 without one."""
    if not settings.VAPID_PRIVATE_KEY:
        raise ClientError("push_not_configured", NOT_CONFIGURED, 404)
    return str(settings.VAPID_PRIVATE_KEY)


class PushKeyView(APIView):
    """The key that a browser subscribes to pushes with."""

    @extend_schema(responses={200: PushKeyBody, 404: NOT_CONFIGURED})
    def get(self, request: Request) -> Response:
        """Return the key."""
        return Response(msgspec.to_builtins(PushKeyBody(public_key(_private_key()))))


class SubscriptionsView(APIView):
    """The browsers that take pushes for a person, each until its session ends."""

    parser_classes = [JSONParser]

    @extend_schema(
        request=PushSubscriptionPost,
        responses={
            200: OpenApiResponse(SubscriptionEndpoint, "Known before; it takes pushes for this user now."),
            201: OpenApiResponse(SubscriptionEndpoint, "It takes pushes for this user."),
            400: "`endpoint_not_allowed` or `invalid_keys`.",
            404: NOT_CONFIGURED,
        },
    )
    def post(self, request: Request) -> Response:
        """Have this browser take pushes, in this session; of more than 16 the oldest is forgotten."""
        user = services.signed_in(request.user)
        _private_key()
        given = _subscription(request)
        created = until_unlocked(
            save_subscription,
            user=user,
            session_key=str(request._request.session.session_key),
            endpoint=given.endpoint,
            p256dh=given.keys.p256dh,
            auth=given.keys.auth,
        )
        body = msgspec.to_builtins(SubscriptionEndpoint(given.endpoint))
        return Response(body, status=201 if created else 200)

    @extend_schema(request=SubscriptionEndpoint, responses={204: None})
    def delete(self, request: Request) -> Response:
        """Send nothing more to this browser; also where it was not subscribed."""
        try:
            given = msgspec.convert(request.data, SubscriptionEndpoint)
        except msgspec.ValidationError:
            raise ClientError("invalid_request", "`endpoint` must be text.") from None
        end_subscription(user=services.signed_in(request.user), endpoint=given.endpoint)
        return Response(status=204)


def _subscription(request: Request) -> PushSubscriptionPost:
    """Return what was posted; raises 400, or 413."""
    if len(request._request.body) > MAX_BYTES:
        raise ClientError("message_too_long", "The subscription is too large.", 413)
    data = request.data
    if not isinstance(data, dict):
        raise ClientError("invalid_request", "A JSON object is expected.")
    endpoint = data.get("endpoint")
    try:
        host_of(endpoint if isinstance(endpoint, str) else "")
    except EndpointNotAllowedError:
        text = "No push may be sent to this address."
        raise ClientError("endpoint_not_allowed", text) from None
    try:
        given = msgspec.convert(data, PushSubscriptionPost)
        browser_key(given.keys.p256dh)
        auth_secret(given.keys.auth)
    except ValueError:  # msgspec's is one
        raise ClientError("invalid_keys", "The keys are missing or wrong.") from None
    return given


class UnsubscribeView(APIView):
    """The link in an e-mail that switches e-mails off; it needs no session."""

    authentication_classes: list[Any] = []
    permission_classes = [AllowAny]
    parser_classes = [FormParser, MultiPartParser]
    renderer_classes = [StaticHTMLRenderer, JSONRenderer]

    PAGE = OpenApiResponse(OpenApiTypes.STR, "A page in the person's language.")
    PATH = [OpenApiParameter("token", str, OpenApiParameter.PATH, description="From the e-mail.")]

    @extend_schema(parameters=PATH, responses={200: PAGE, 404: "The link is wrong."})
    def get(self, request: Request, token: str) -> HttpResponse:
        """Return a page with one button; changes nothing."""
        return _page(request._request, _reader(token), done=False)

    @extend_schema(
        parameters=PATH,
        request={
            f"{kind}": {
                "type": "object",
                "properties": {"List-Unsubscribe": {"type": "string", "enum": ["One-Click"]}},
                "required": ["List-Unsubscribe"],
            }
            for kind in ("application/x-www-form-urlencoded", "multipart/form-data")
        },
        responses={200: PAGE, 404: "The link is wrong."},
    )
    def post(self, request: Request, token: str) -> HttpResponse:
        """Switch e-mails off, as RFC 8058 says: `List-Unsubscribe=One-Click`."""
        reader = _reader(token)
        try:
            given = request.data  # without a body a plain dict
        except (UnsupportedMediaType, ParseError):
            given = {}
        if not isinstance(given, QueryDict) or dict(given.lists()) != {"List-Unsubscribe": ["One-Click"]}:
            raise ClientError("invalid_request", "List-Unsubscribe=One-Click is expected.")
        UserProfile.objects.filter(pk=reader.pk).update(notify_email=False)
        return _page(request._request, reader, done=True)


def _reader(token: str) -> UserProfile:
    reader = UserProfile.objects.filter(user=user_of(token)).first()
    if reader is None:
        raise ClientError("not_found", "The link is wrong.", 404)
    return reader


def _page(request: HttpRequest, reader: UserProfile, *, done: bool) -> HttpResponse:
    language = reader.language or translation.get_language_from_request(request)
    with translation.override(language):
        return HttpResponse(render_to_string("notices/unsubscribe.html", {"done": done}))
