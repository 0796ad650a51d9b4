"""Who waits, in the admin: the column and the filter of the list of conversations, and the list of mentors."""

from datetime import timedelta
from typing import Any, cast

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _

from accounts.admin_base import PatientChangeList
from accounts.admin_names import name_column
from chat.admin.read_only import ReadOnlyAdmin
from chat.models import ConversationQuerySet, Mentor
from chat.store.answer_times import AnswerTimes, answer_times

LONG = timedelta(days=1)
LONGEST_FIRST = F("waits_since").asc(nulls_last=True)


class WaitingFilter(admin.SimpleListFilter):
    """Conversations in which the student waits for an answer, now or for long."""

    title = _("waiting")
    parameter_name = "waiting"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("any", _("Waiting")), ("day", _("Waiting longer than a day"))]

    def queryset(self, request: HttpRequest, queryset: ConversationQuerySet) -> ConversationQuerySet:  # type: ignore[override]
        """Return the conversations that the choice leaves; none for a choice that there is not."""
        if self.value() is None:
            return queryset
        if self.value() == "day":
            return queryset.waiting().filter(waiting_since__lt=timezone.now() - LONG)
        return queryset.waiting() if self.value() == "any" else queryset.none()


@admin.display(description=_("waiting since"), ordering=LONGEST_FIRST)
def waiting_since(conversation: Any) -> Any:
    """Return since when the student has waited; nothing if they do not."""
    return conversation.waits_since


class MentorList(PatientChangeList):
    """A page of mentors with their answer times, in one query more."""

    def get_results(self, request: HttpRequest) -> None:
        """Read the page of rows."""
        super().get_results(request)
        times = answer_times([mentor.pk for mentor in self.result_list])
        for mentor in self.result_list:
            mentor.times = times.get(mentor.pk)


@admin.register(Mentor)
class MentorAdmin(ReadOnlyAdmin):
    """Mentors: how many students wait, and how long answers took; who has kept somebody waiting longest comes first."""

    list_display = (
        name_column("full_name", _("mentor"), "full_name"),
        "waiting",
        "longest",
        "answers",
        "median",
        "nine_in_ten",
    )
    list_display_links = None
    list_per_page = 50
    search_fields = ("full_name__folded", "user__username", "user__email")
    search_help_text = _("Name, user name or e-mail address.")
    fields = ("full_name", "role")

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """Longest waiting first, then by name."""
        return (F("longest").asc(nulls_last=True), "full_name", "pk")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Mentor]:
        """Return the mentors, each with who waits for them."""
        rows: Any = super().get_queryset(request)
        return cast(QuerySet[Mentor], rows.with_waiting())

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[MentorList]:
        """Return the class of the list."""
        return MentorList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show a page of the list; the title says which answers count."""
        title = _("Mentors: answers of the last 30 days, without the night")
        return super().changelist_view(request, (extra_context or {}) | {"title": title})

    @admin.display(description=_("students waiting"), ordering="waiting")
    def waiting(self, mentor: Any) -> str:
        """Return how many students wait, as a link to their conversations."""
        url = reverse("admin:chat_conversation_changelist")
        return format_html('<a href="{}?teacher__id__exact={}&amp;waiting=any">{}</a>', url, mentor.pk, mentor.waiting)

    @admin.display(description=_("waiting longest"), ordering=F("longest").asc(nulls_last=True))
    def longest(self, mentor: Any) -> str | None:
        """Return how long the first of them has waited."""
        return timesince(mentor.longest) if mentor.longest else None

    @admin.display(description=_("answers"))
    def answers(self, mentor: Any) -> int:
        """Return how often they have answered."""
        return shown_times(mentor.times)[0]

    @admin.display(description=_("median answer time"))
    def median(self, mentor: Any) -> str | None:
        """Return how long half of the answers took at most."""
        return shown_times(mentor.times)[1]

    @admin.display(description=_("nine in ten within"))
    def nine_in_ten(self, mentor: Any) -> str | None:
        """Return how long nine in ten of the answers took at most."""
        return shown_times(mentor.times)[2]


def shown_times(times: AnswerTimes | None) -> tuple[int, str | None, str | None]:
    """Return how many answers there were, and in words how long half of them, and nine in ten, took at most."""
    if times is None:
        return 0, None, None
    return times.count, _duration(times.median), _duration(times.nine_in_ten)


def _duration(time: timedelta) -> str:
    now = timezone.now()
    return timesince(now - time, now)
