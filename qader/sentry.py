"""Reports what is logged as an error to Sentry, where SENTRY_DSN names one; else nothing of it is even imported.

One place brings everything there: requests, sockets, tasks and threads log what fails in them. None of the SDK's
integrations that wrap Django and asyncio is needed for that; the latter would also wrap each task that writes a socket.
"""

import logging
from typing import TYPE_CHECKING, Any

from django.conf import settings

from accounts import tracing
from qader.logs import event_of

if TYPE_CHECKING:
    from sentry_sdk.types import Event, Hint

# Of an event nothing is sent but this, and what `scrubbed` adds: no request, no cookies, no variables, no breadcrumbs.
KEPT = ("event_id", "timestamp", "platform", "level", "logger", "server_name", "release", "environment", "sdk")
KEPT_OF_EXCEPTION = ("type", "module", "mechanism", "stacktrace")  # its words may quote what was sent


def start() -> None:
    """Report errors from now on, if a SENTRY_DSN is set."""
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
        integrations=[AtexitIntegration(callback=lambda pending, timeout: None)],  # by default it prints
        auto_session_tracking=False,
        send_client_reports=False,
    )
    logging.getLogger().addHandler(EventHandler(level=logging.ERROR))


def scrubbed(event: "Event", hint: "Hint") -> "Event":
    """Return what may be sent of an event: what failed, where, and the ids of whom it happened to."""
    given: dict[str, Any] = dict(event)
    told: Any = {name: given[name] for name in KEPT if name in given}
    if record := hint.get("log_record"):
        told["logentry"] = {"message": event_of(record)}
    if values := given.get("exception", {}).get("values"):
        told["exception"] = {
            "values": [{name: value[name] for name in KEPT_OF_EXCEPTION if name in value} for value in values]
        }
    if trace := tracing.current():
        told["tags"] = {trace.kind: trace.id}
        if trace.user_id is not None:
            told["user"] = {"id": str(trace.user_id)}
    return told  # type: ignore[no-any-return]
