"""Reports of messages: a participant makes one, the leads are told of it and handle it."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Count, Min
from django.utils import timezone

from accounts.models import User
from chat.errors import ClientError
from chat.models import AuditAction, Conversation, Message, Report, ReportedMessage, ReportOutcome, ReportState
from chat.models.reports import MAX_REASON_LENGTH, NEIGHBOURS
from chat.moderation.audit import record
from chat.wire.client_frames import ReportPost, read

REPORT_LIMIT = 20  # reports of one person in `REPORT_PERIOD`
REPORT_PERIOD = timedelta(hours=24)


def report_message(*, user: User, message_id: int, body: object) -> tuple[Report, bool]:
    """Store a participant's report of the other one's message, and return it and whether it is new.

    The message and its neighbours are copied. `body` is `{"reason"}`, which may be missing. Raises, in this order:
    `message_not_found` (404), `own_message`, what is wrong with the body, and `rate_limited` beyond `REPORT_LIMIT`.
    """
    mine = Conversation.objects.for_user(user)
    message = Message.objects.filter(pk=message_id, conversation__in=mine).first()
    if message is None:
        raise _not_found()
    if message.sender_id == user.pk:
        raise ClientError("own_message", "Your own message cannot be reported.")
    reason = read(body, ReportPost).reason or ""
    if len(reason) > MAX_REASON_LENGTH:
        text = f"The reason is longer than {MAX_REASON_LENGTH} characters."
        raise ClientError("reason_too_long", text, field="reason")
    with transaction.atomic():
        # The reports of one person wait for each other: so the limit holds, and there is one for a message. Whoever is
        # being erased makes none.
        if not User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True):
            raise _not_found()
        found = Report.objects.filter(message_id=message.pk, reporter_id=user.pk).first()
        if found is not None:
            return found, False
        _check_limit(user.pk)
        copied = _lock_with_neighbours(message)
        if message not in copied:
            raise _not_found()
        return _store(message, copied, user.pk, reason), True


def _not_found() -> ClientError:
    return ClientError("message_not_found", "No such message.", 404)


def _check_limit(user_id: int) -> None:
    now = timezone.now()
    times = Report.objects.filter(reporter_id=user_id, created_at__gt=now - REPORT_PERIOD).order_by("-created_at")
    counted: list[datetime] = list(times.values_list("created_at", flat=True)[:REPORT_LIMIT])
    if len(counted) == REPORT_LIMIT:
        wait = (counted[-1] + REPORT_PERIOD - now).total_seconds()
        raise ClientError("rate_limited", "Too many reports.", 429, retry_after=max(1.0, wait))


def _store(message: Message, copied: list[Message], reporter_id: int, reason: str) -> Report:
    report = Report.objects.create(
        message_id=message.pk,
        conversation_id=message.conversation_id,
        reporter_id=reporter_id,
        sender_id=message.sender_id,
        reason=reason,
    )
    ReportedMessage.objects.bulk_create(
        ReportedMessage(
            report=report,
            message_id=near.pk,
            sender_id=near.sender_id,
            seq=near.seq,
            content=near.content,
            timestamp=near.timestamp,
        )
        for near in copied
    )
    report.refresh_from_db(fields=["created_at"])  # as the database has set it
    return report


def _lock_with_neighbours(message: Message) -> list[Message]:
    """Return the message, if it is still there, and up to `NEIGHBOURS` on each side; some in between may be gone.

    Locked, so that erasing and purging, which leave out what is locked, come back when the report is stored.
    """
    others = Message.objects.filter(conversation=message.conversation_id)
    before = others.filter(seq__lt=message.seq).order_by("-seq")[:NEIGHBOURS]
    after = others.filter(seq__gt=message.seq).order_by("seq")[:NEIGHBOURS]
    ids = [message.pk, *(near.pk for near in (*before, *after))]
    return list(others.filter(pk__in=ids).order_by("pk").select_for_update(no_key=True))


def handle_report(
    report: Report, *, by: User, state: ReportState, outcome: ReportOutcome | None = None, note: str = ""
) -> None:
    """Set how far a report is and what came of it, in the name of `by`; recorded."""
    closed = state == ReportState.CLOSED
    report.state, report.outcome, report.note, report.handler_id = state, outcome or "", note, by.pk
    report.closed_at = (report.closed_at or timezone.now()) if closed else None
    with transaction.atomic():
        report.save(update_fields=["state", "outcome", "note", "handler_id", "closed_at"])
        said = f"{report.state}, {report.outcome}" if closed else report.state
        record(
            AuditAction.REPORT_HANDLED,
            actor_id=by.pk,
            conversation_id=report.conversation_id,
            person_id=report.sender_id,
            detail=f"report {report.pk}: {said}",
        )


def unfinished_reports() -> tuple[int, datetime | None]:
    """Return how many reports are not closed, and when the oldest of them was made."""
    found = Report.objects.unfinished().aggregate(count=Count("pk"), oldest=Min("created_at"))
    return found["count"], found["oldest"]
