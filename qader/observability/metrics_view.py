"""`/metrics`: the metrics of this process, and who may read them."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from accounts.addresses import parse_address

# A proxy on this machine connects from the loopback address, too, but sets one of these.
PROXY_HEADERS = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP")


@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer the metrics in Prometheus's text format, or 404 to a client that may not read them."""
    if request.method not in {"GET", "HEAD"} or not _may_read(request):
        raise Http404
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _may_read(request: HttpRequest) -> bool:
    """Whether the request has METRICS_TOKEN; without that setting, whether it comes directly from this machine."""
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        return constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}")
    if any(name in request.headers for name in PROXY_HEADERS):
        return False
    address = parse_address(request.META.get("REMOTE_ADDR", ""))
    return address is not None and address.is_loopback
