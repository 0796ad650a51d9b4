"""Signing in and out over REST."""

from typing import Any

import msgspec
from django.contrib.auth import login, logout
from django.http import QueryDict
from django.middleware.csrf import get_token
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables
from drf_spectacular.utils import extend_schema
from rest_framework import exceptions, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import SessionAuthentication
from accounts.devices import set_cookie
from accounts.models import User, UserProfile
from accounts.names import visible_part
from accounts.serializers import CsrfBody, LoginProblem, MeBody, MeChanges, me_body
from accounts.throttling import TooManyFailuresError, throttled_authenticate


class TextField(serializers.CharField):
    """Text as it was sent; unlike DRF's, a number is not text."""

    def to_internal_value(self, data: object) -> str:
        """Return the text, or fail as DRF's own does."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameField(TextField):
    """A user name or an e-mail address, without what a keyboard or a clipboard added to it."""

    def run_validation(self, data: Any = serializers.empty) -> Any:
        """Return the name; one of invisible marks alone is blank."""
        return super().run_validation(visible_part(data) if isinstance(data, str) else data)


class LoginSerializer(serializers.Serializer[None]):
    """What `POST auth/login/` takes; `username` may be an e-mail address."""

    username = NameField(max_length=254)
    password = TextField(max_length=1024, trim_whitespace=False)


class CsrfView(APIView):
    """Hands out the CSRF token, and its cookie, for a frontend that has no page of ours."""

    permission_classes = [AllowAny]

    @extend_schema(responses={200: CsrfBody})
    def get(self, request: Request) -> Response:
        """Return the CSRF token, and set its cookie."""
        return Response(msgspec.to_builtins(CsrfBody(csrf_token=get_token(request._request))))


class LoginView(APIView):
    """Signs in; the session gets a new key, so a planted one is worth nothing."""

    permission_classes = [AllowAny]

    @extend_schema(
        request=LoginSerializer, responses={200: MeBody, 400: LoginProblem, 429: "Too many failed tries to log in."}
    )
    @method_decorator(sensitive_variables())
    def post(self, request: Request) -> Response:
        """Sign in; 400 for wrong credentials, 403 without a CSRF token, 429 after too many failures."""
        SessionAuthentication().enforce_csrf(request)  # DRF asks it of signed-in callers only
        given = LoginSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        name, password = given.validated_data["username"], given.validated_data["password"]
        try:
            user = throttled_authenticate(request._request, name, password)
        except TooManyFailuresError as error:
            body = {"detail": "Too many failed tries to log in.", "code": "rate_limited"}
            return Response(body, status=429, headers={"Retry-After": str(error.retry_after)})
        if user is None:
            return Response({"detail": "Wrong user name or password.", "code": "wrong_credentials"}, status=400)
        session = request._request.session
        before = session.session_key
        login(request._request, user)
        if session.session_key == before:  # signed in already; Django would go on under the same key
            session.cycle_key()
        response = _me(user)
        set_cookie(request._request, response)
        return response


class LogoutView(APIView):
    """Signs out: ends this session and its sockets."""

    permission_classes = [AllowAny]

    @extend_schema(request=None, responses={204: None, 401: "Nobody is signed in."})
    def post(self, request: Request) -> Response:
        """Sign out; 403 without a CSRF token, 401 if nobody is signed in."""
        SessionAuthentication().enforce_csrf(request)
        if not request.user.is_authenticated:
            raise exceptions.NotAuthenticated
        logout(request._request)
        return Response(status=204)


class MeView(APIView):
    """Who is signed in."""

    @extend_schema(responses={200: MeBody})
    def get(self, request: Request) -> Response:
        """Return who is signed in, with profile and mentor."""
        assert isinstance(request.user, User)  # noqa: S101 - nobody else is authenticated
        return _me(request.user)

    @extend_schema(request=MeChanges, responses={200: MeBody, 403: "The user has no profile."})
    def patch(self, request: Request) -> Response:
        """Change the language, and how one is told of messages while away; another key or a wrong value: 400."""
        assert isinstance(request.user, User)  # noqa: S101 - nobody else is authenticated
        changes = _changes(request.data)
        profile: UserProfile | None = getattr(request.user, "profile", None)
        if changes and profile is None:
            return Response({"detail": "The user has no profile.", "code": "no_profile"}, status=403)
        if changes and profile is not None:
            UserProfile.objects.filter(pk=profile.pk).update(**changes)  # no event: nobody else sees these
            for name, value in changes.items():
                setattr(profile, name, value)
        return _me(request.user)


# How a form says what JSON has words for.
FORM_VALUES = {"true": True, "1": True, "false": False, "0": False, "": None}


def _changes(data: Any) -> dict[str, Any]:
    """Return what is to be changed; raises 400."""
    if isinstance(data, QueryDict):
        texts: dict[str, Any] = data.dict()
        data = {name: FORM_VALUES.get(text, text) for name, text in texts.items()}
    try:
        given = msgspec.convert(data, MeChanges)
    except msgspec.ValidationError as error:
        raise exceptions.ValidationError({"detail": f"{error}."}) from None
    found = msgspec.structs.asdict(given)
    return {name: value for name, value in found.items() if value is not msgspec.UNSET}


def _me(user: User) -> Response:
    return Response(msgspec.to_builtins(me_body(user)))
