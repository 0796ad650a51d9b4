"""The database connection of a request."""

from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware


@sync_and_async_middleware
def give_back_connection(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Give the connection back to the pool before the answer is written.

    Django does it afterwards: a few clients that do not read their answers would hold all connections.
    """
    if iscoroutinefunction(get_response):

        async def asynchronous(request: HttpRequest) -> HttpResponseBase:
            response: HttpResponseBase = await get_response(request)
            await sync_to_async(_give_back)()  # in the request's thread, to which the connection belongs
            return response

        return asynchronous

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        response: HttpResponseBase = get_response(request)
        _give_back()
        return response

    return synchronous


def _give_back() -> None:
    if not connection.in_atomic_block:  # as in a test, whose transaction goes on
        connection.close()
