"""What holds for every answer below `/api/`: an error is JSON with a `code`, and a redirect keeps the method."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

from chat.errors import problem_of

API_PREFIX = "/api/"
PRIVATE_PREFIX = "/api/v1/"


def api_answers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Apply `as_api_answer` to every answer, those of other middleware included."""
    return lambda request: as_api_answer(request.path_info, get_response(request))


def as_api_answer(path: str, response: HttpResponse) -> HttpResponse:
    """Return the answer with what this path requires: JSON errors, no 301, and no copies of private answers.

    Django answers some errors itself, before or after a view, as pages. After a 301 clients repeat a POST as a GET.
    """
    if not path.startswith(API_PREFIX):
        return response
    if path.startswith(PRIVATE_PREFIX):
        add_never_cache_headers(response)
    if response.status_code == 301:
        response.status_code = 308
    if response.status_code >= 400 and not response.headers.get("Content-Type", "").startswith("application/json"):
        response.content = problem_of(response.status_code)
        response.headers["Content-Type"] = "application/json"
        response.headers["Content-Length"] = str(len(response.content))  # it may have that of the page
    return response
