"""Reports of messages in the admin: the queue, what was reported, and what came of it."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Exists, F, OuterRef, QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.admin_forms import PresentForm
from accounts.models import User
from chat import services
from chat.admin.audit import AuditedPage, CappedPaginator, conversation_link, name_of, named
from chat.models import AuditAction, Conversation, Report, ReportOutcome, ReportState
from chat.moderation.audit import record
from chat.moderation.reports import handle_report


class ReportedFilter(admin.SimpleListFilter):
    """Filters conversations by the reports of their messages."""

    title = _("reported")
    parameter_name = "reported"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return the choices."""
        return [("unfinished", _("a report is not closed")), ("ever", _("ever reported")), ("never", _("never"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> QuerySet[Conversation]:
        """Return the conversations of the choice."""
        reports = Report.objects.filter(conversation_id=OuterRef("pk"))
        match self.value():
            case "unfinished":
                return queryset.filter(Exists(reports.unfinished()))
            case "ever":
                return queryset.filter(Exists(reports))
            case "never":
                return queryset.filter(~Exists(reports))
        return queryset


class ReportForm(PresentForm):
    """What an admin decides about a report."""

    class Meta:
        fields = ("state", "outcome", "note")
        widgets = {"note": forms.Textarea(attrs={"rows": 4, "dir": "auto"})}

    def clean(self) -> dict[str, Any]:
        """Refuse a closed report without an outcome, and an outcome of one that is not closed."""
        cleaned: dict[str, Any] = super().clean() or {}
        closed = cleaned.get("state") == ReportState.CLOSED
        if closed and not cleaned.get("outcome"):
            raise ValidationError({"outcome": _("Say what came of the report.")})
        if not closed and cleaned.get("outcome"):
            raise ValidationError({"state": _("Only a closed report has an outcome.")})
        return cleaned


@admin.register(Report)
class ReportAdmin(AuditedPage):
    """The queue: what is not closed first, the oldest first. The list shows no texts; opening a report is recorded."""

    form = ReportForm
    unfiltered = ("reason", "note")
    list_display = ("__str__", "created_at", "state", "reporter", "sender", "conversation", "handler", "outcome")
    list_filter = ("state", "outcome")
    ordering = (F("closed_at").desc(nulls_first=True), "created_at")
    sortable_by = ()
    paginator = CappedPaginator
    shown = ("created_at", "reporter", "sender", "conversation", "reason_given", "copies", "handler", "closed_at")
    readonly_fields = shown
    fieldsets = (
        (None, {"fields": shown[:-2]}),
        (_("What came of it"), {"fields": ("state", "outcome", "note", "handler", "closed_at")}),
    )

    def has_change_permission(self, request: HttpRequest, obj: Report | None = None) -> bool:
        """Those who have the right, which the group of leads has."""
        return request.user.has_perm("chat.change_report")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Report]:
        """Return the reports, with the names of the people that still exist."""
        rows: QuerySet[Report] = super().get_queryset(request)
        names = {name: name_of(f"{name}_id") for name in ("reporter", "sender", "handler")}
        return rows.annotate(**{f"{name}_name": found for name, found in names.items()})

    def record_page(self, request: HttpRequest, shown: Report) -> None:
        """Record that a report is shown with its texts."""
        record(
            AuditAction.OPENED,
            actor_id=request.user.pk,
            conversation_id=shown.conversation_id,
            detail=f"report {shown.pk}",
        )

    def save_model(self, request: HttpRequest, obj: Report, form: Any, change: bool) -> None:
        """Store what came of the report."""
        given = {name: form.cleaned_data[name] for name in ("state", "outcome", "note")}
        outcome = ReportOutcome(given["outcome"]) if given["outcome"] else None
        by = services.signed_in(request.user)
        handle_report(obj, by=by, state=ReportState(given["state"]), outcome=outcome, note=given["note"])

    @admin.display(description=_("reported by"))
    def reporter(self, report: Any) -> str:
        """Return who reported the message."""
        return named(report.reporter_name, report.reporter_id)

    @admin.display(description=_("sender"))
    def sender(self, report: Any) -> str:
        """Return who wrote the message."""
        return named(report.sender_name, report.sender_id)

    @admin.display(description=_("handled by"))
    def handler(self, report: Any) -> str:
        """Return who handles the report."""
        return named(report.handler_name, report.handler_id)

    @admin.display(description=_("conversation"))
    def conversation(self, report: Report) -> str:
        """Return which conversation."""
        return conversation_link(report.conversation_id)

    @admin.display(description=_("reason"))
    def reason_given(self, report: Report) -> str:
        """Return why it was reported."""
        return format_html('<div class="text" dir="auto">{}</div>', report.reason or "-")

    @admin.display(description=_("as it was then"))
    def copies(self, report: Report) -> str:
        """Return the reported message among its neighbours, as copied then, and a link to the present transcript."""
        copies = list(report.copies.order_by("seq"))
        names = dict(User.objects.filter(pk__in={copy.sender_id for copy in copies}).values_list("pk", "username"))
        student = Conversation.objects.filter(pk=report.conversation_id).values_list("student__user", flat=True).first()
        for copy in copies:
            copy.name = names.get(copy.sender_id, f"#{copy.sender_id}")  # type: ignore[attr-defined]
            copy.side = "student" if copy.sender_id == student else "mentor"  # type: ignore[attr-defined]
        url = reverse("admin:chat_conversation_transcript", args=[report.conversation_id])
        context = {"copies": copies, "reported": report.message_id, "transcript": url}
        return render_to_string("admin/chat/report/copies.html", context)
