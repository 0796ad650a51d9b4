"""What those who lead look at every morning: who waits, how much is written, and which reports wait."""

from datetime import date, datetime, time, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db.models import Count, F
from django.db.models.functions import TruncDate
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import get_language_bidi, gettext

from chat.admin.audit import name_of
from chat.admin.plots import bar_plot
from chat.admin.waiting import shown_times
from chat.models import Conversation, Mentor, Message, Report, ReportState
from chat.store.answer_times import answer_times

DAYS = 14  # that are shown, today included
LISTED = 10  # reports, conversations and mentors


def dashboard(request: HttpRequest, site: AdminSite) -> TemplateResponse:
    """Show the page, to those who handle reports; it has no texts."""
    if not request.user.has_perm("chat.change_report"):
        raise PermissionDenied
    days = messages_a_day()
    labels = [(date_format(day, "j/n"), count) for day, count in days]
    context = site.each_context(request) | {
        "title": gettext("Dashboard"),
        "opts": Conversation._meta,
        "waiting": waiting_longest(),
        "mentors": slowest_mentors(),
        "days": list(reversed(days)),
        "plot": bar_plot(labels, right_to_left=get_language_bidi()),
        "reports": waiting_reports(),
        "states": report_states(),
    }
    return TemplateResponse(request, "admin/chat/dashboard.html", context)


def waiting_longest() -> list[Conversation]:
    """Return the conversations in which students have waited longest, each with its people."""
    return list(Conversation.objects.waiting().with_people().order_by("waiting_since", "pk")[:LISTED])


def slowest_mentors() -> list[Any]:
    """Return the mentors who have kept somebody waiting longest, each with their answer times."""
    rows = Mentor.objects.with_waiting().select_related("user")
    mentors: list[Any] = list(rows.order_by(F("longest").asc(nulls_last=True), "full_name", "pk")[:LISTED])
    times = answer_times([mentor.pk for mentor in mentors])
    for mentor in mentors:
        mentor.answers, mentor.median, mentor.nine_in_ten = shown_times(times.get(mentor.pk))
    return mentors


def messages_a_day() -> list[tuple[date, int]]:
    """Return how many messages were written on each of the last `DAYS`, the oldest first."""
    today = timezone.localdate()
    days = [today - timedelta(days=back) for back in reversed(range(DAYS))]
    begin = timezone.make_aware(datetime.combine(days[0], time.min))
    rows = Message.objects.filter(timestamp__gte=begin).order_by().annotate(day=TruncDate("timestamp")).values("day")
    counts = dict(rows.annotate(count=Count("pk")).values_list("day", "count"))
    return [(day, counts.get(day, 0)) for day in days]


def waiting_reports() -> list[Any]:
    """Return the oldest reports that are not closed, with the names of those who made them."""
    rows = Report.objects.unfinished().order_by("created_at").annotate(reporter_name=name_of("reporter_id"))
    return list(rows[:LISTED])


def report_states() -> list[tuple[str, int]]:
    """Return how many reports are not closed, by their state."""
    counts = dict(Report.objects.unfinished().order_by().values_list("state").annotate(Count("pk")))
    return [(str(state.label), counts.get(state.value, 0)) for state in (ReportState.OPEN, ReportState.HANDLING)]
