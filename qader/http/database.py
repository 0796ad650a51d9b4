"""The database connection of a request."""

from collections.abc import Callable

from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase


def give_back_connection(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Give the connection back to the pool before the answer is written.

    Django does it afterwards: a few clients that do not read their answers would hold all connections.
    """

    def giving_back(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if not connection.in_atomic_block:  # as in a test, whose transaction goes on
            connection.close()
        return response

    return giving_back
