"""`/healthz` and `/readyz`: whether this process is alive, and whether to send it anybody."""

import asyncio
import logging
import threading
from collections.abc import Awaitable

from channels.layers import get_channel_layer
from django.db import connection
from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect, JsonResponse
from django.middleware import common
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from chat.runtime.database import in_database

logger = logging.getLogger(__name__)

PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
PART_SECONDS = 2.5  # how long a part may take to answer
stopping = threading.Event()  # set once this process has been told to stop


class CommonMiddleware(common.CommonMiddleware):
    """Django's own, but the Host header is free for what load balancers and Prometheus ask, by address."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        """Refuse hosts that are not ours, except for `PATHS`."""
        return None if request.path_info in PATHS else super().process_request(request)


@never_cache
@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """Answer "ok": the process takes requests. Touches nothing, so that a database away gets no process restarted."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
async def readyz(request: HttpRequest) -> JsonResponse:
    """Answer which parts answer within `PART_SECONDS`: 200 if all do and the process is not told to stop, else 503."""
    database, layer = await asyncio.gather(
        _answers("database", in_database(_ask_database)), _answers("channel layer", _ask_channel_layer())
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


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _ask_channel_layer() -> None:
    # Nobody listens to this group; Redis answers the publish all the same.
    await get_channel_layer().group_send("readyz", {"type": "readyz"})
