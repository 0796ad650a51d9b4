"""Reports every log record of level ERROR to Sentry if SENTRY_DSN is set; otherwise the SDK is not even imported.

The log is the only source, because requests, sockets, tasks and threads log their failures. So the SDK's integrations
for Django and asyncio are off; the latter would also wrap every task that writes to a socket.
"""

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts import tracing
from qader.observability.log_format import event_of

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

# Only these parts of an event are sent, and what `scrubbed` adds: no request, cookies, variables or breadcrumbs.
KEPT = ("event_id", "timestamp", "platform", "level", "logger", "server_name", "release", "environment", "sdk")
KEPT_OF_EXCEPTION = ("type", "module", "mechanism", "stacktrace")  # not its text, which may quote what a client sent


def start() -> None:
    """Report errors from now on if SENTRY_DSN is set."""
    if not settings.SENTRY_DSN:
        return
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.logging import EventHandler

    sentry_sdk.init(
        settings.SENTRY_DSN,
        before_send=scrubbed,
        send_default_pii=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        max_request_body_size="never",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],  # the default one prints
        auto_session_tracking=False,
        send_client_reports=False,
    )
    logging.getLogger().addHandler(EventHandler(level=logging.ERROR))


def scrubbed(event: "Event", hint: "Hint") -> "Event":
    """Return the part of an event that may be sent: what failed, where, and ids of the request and the user."""
    given: dict[str, Any] = dict(event)
    kept: Any = {name: given[name] for name in KEPT if name in given}
    if record := hint.get("log_record"):
        kept["logentry"] = {"message": event_of(record)}
    if values := given.get("exception", {}).get("values"):
        kept["exception"] = {
            "values": [{name: value[name] for name in KEPT_OF_EXCEPTION if name in value} for value in values]
        }
    if trace := tracing.current():
        kept["tags"] = {trace.kind: trace.id}
        if trace.user_id is not None:
            kept["user"] = {"id": str(trace.user_id)}
    return kept  # type: ignore[no-any-return]
