"""`/healthz`: the process is alive. `/readyz`: the proxy may send it clients."""

import asyncio
import logging
import threading
from collections.abc import Awaitable

from channels.layers import get_channel_layer
from django.contrib.sessions.models import Session
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, JsonResponse
from django.middleware import common
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.errors import UnavailableError
from chat.runtime.database import in_database, was_full
from qader.http.api import API_PREFIX

logger = logging.getLogger(__name__)

ANY_HOST_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
PART_SECONDS = 2.5  # how long the database or the channel layer may take to answer
stopping = threading.Event()  # set at SIGTERM or SIGINT


class CommonMiddleware(common.CommonMiddleware):
    """Django's own, except that probes need no allowed Host, and that a missing slash may be mended for a POST.

    Load balancers and Prometheus use the IP address. `qader.http.api` keeps the method of a redirect below `/api/`.
    """

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        """Refuse hosts that are not in ALLOWED_HOSTS, except for `ANY_HOST_PATHS`."""
        return None if request.path_info in ANY_HOST_PATHS else super().process_request(request)

    def get_full_path_with_slash(self, request: HttpRequest) -> str:
        """Return the path to redirect to; with DEBUG Django's own raises for a POST."""
        if request.path_info.startswith(API_PREFIX):
            return request.get_full_path(force_append_slash=True)
        return super().get_full_path_with_slash(request)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer "ok". Does not ask the database: a database outage must not restart the processes."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200, or 503 if the process stops, or database or channel layer fail or take over `PART_SECONDS`.

    A database that refuses to write fails.
    """
    database, layer = await asyncio.gather(
        _answers("database", in_database(_check_database)), _answers("channel layer", _publish())
    )
    parts = {"database": database, "channel_layer": layer, "stopping": stopping.is_set()}
    return JsonResponse(parts, status=200 if database and layer and not parts["stopping"] else 503)


async def _answers(part: str, call: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(PART_SECONDS):
            await call
    except Exception as error:
        logger.warning("not ready: %s: %s", part, type(error).__name__)
        return False
    return True


def _check_database() -> None:
    """Raise if the database does not answer or would refuse a write. Writes nothing, and locks nothing for others."""
    if was_full():
        raise UnavailableError
    with transaction.atomic():  # here SQLite takes the write lock
        list(Session.objects.select_for_update().filter(pk="").values_list("pk"))


async def _publish() -> None:
    # The group is empty; Redis answers PUBLISH anyway.
    await get_channel_layer().group_send("readyz", {"type": "readyz"})
