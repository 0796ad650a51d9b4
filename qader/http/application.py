"""Django's ASGI application, except for its threads, and for malformed heads of requests, which it refuses."""

import codecs
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.request import MediaType
from django.http.response import HttpResponseBase
from django.utils.functional import cached_property

from accounts.addresses import client_address
from qader.http.api import as_api_answer
from qader.http.health import ANY_HOST_PATHS
from qader.http.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

# Python decodes these in Python itself, holding all other threads: 250 kB of Punycode take it a second and a half.
SLOW_CHARSETS = frozenset({"punycode", "idna"})
MAX_CONTENT_TYPE = 1000  # characters; Python parses its parameters in quadratic time, 16 kB in 0.05 s
KEPT_THREADS = 32  # that wait for the next request


class Request(ASGIRequest):
    """A request whose Accept header may be anything, and whose charset is one that can be read quickly."""

    def _set_content_type_params(self, meta: Mapping[str, Any]) -> None:
        """Take the charset of the body from its Content-Type; raises `LookupError` or `ValueError` for a strange one.

        Django takes any codec of Python, and DRF, forms and the query are then decoded by it.
        """
        if len(meta.get("CONTENT_TYPE", "")) > MAX_CONTENT_TYPE:
            raise ValueError("Content-Type is too long")
        super()._set_content_type_params(meta)  # type: ignore[misc] # not in the stubs
        if self.encoding is not None:
            "".encode(self.encoding)  # raises for a codec that is not for text, such as bz2
            if codecs.lookup(self.encoding).name in SLOW_CHARSETS:
                raise LookupError(self.encoding)

    @cached_property
    def accepted_types(self) -> list[MediaType]:
        """The types that the client accepts; none if the header is malformed."""
        try:
            return super().accepted_types
        except ValueError:  # e.g. a parameter in an encoding that does not exist
            return []


class RequestThread(ThreadPoolExecutor):
    """One thread, for one request at a time."""

    _last: "Future[Any] | None" = None

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Call `fn` in the thread."""
        self._last = future = super().submit(fn, *args, **kwargs)
        return future

    @property
    def is_idle(self) -> bool:
        """Whether it has done everything: a request may have been given up."""
        return self._last is None or self._last.done()


class HttpApplication(ASGIHandler):
    """Runs Django as under WSGI: the middleware and the view of a request in one thread, which another has left.

    Django would start two threads for each request, and go from its thread to the event loop and back for each
    middleware. The event loop, and with it all sockets, would wait half of the time for that.

    Answers 400 if the head of a request is malformed: Django would fail on some values of Content-Type.
    """

    request_class = Request

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[RequestThread] = []
        self._turns = Turns()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        thread = self._idle.pop() if self._idle else RequestThread(1, "request")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, receive, send)
        finally:
            if thread.is_idle and len(self._idle) < KEPT_THREADS:
                self._idle.append(thread)
            else:
                thread.shutdown(wait=False)

    def load_middleware(self, is_async: bool = False) -> None:
        """Load it for a thread, whatever Django asks for."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """Return the answer of middleware and view."""
        # Probes come from the machine itself, without a proxy: nothing is wrong if they lack a proxy's headers.
        is_probe = request.path_info in ANY_HOST_PATHS
        address = request.META.get("REMOTE_ADDR", "") if is_probe else client_address(request)
        async with self._turns.take(address):
            return await sync_to_async(self.get_response)(request)

    def create_request(self, scope: Mapping[str, Any], body_file: Any) -> Any:
        """Return the request, or None and the answer to a malformed one."""
        try:
            request, refused = super().create_request(scope, body_file)
        except (ValueError, LookupError):
            request, refused = None, HttpResponse(status=400)
        return request, refused and as_api_answer(scope["path"], cast(HttpResponse, refused))
