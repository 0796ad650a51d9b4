"""The audit trail in the admin: it records what is searched and shown, before it is shown, and lists the entries."""

import logging
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from accounts.admin_base import may_search
from accounts.admin_names import shown_name
from accounts.models import User
from chat import services
from chat.admin.read_only import ReadOnlyAdmin
from chat.models import AuditAction, AuditEntry, Conversation, Message
from chat.moderation.audit import record, record_all
from chat.previews import is_preview

logger = logging.getLogger(__name__)

MAX_LISTED = 10_000  # rows that can be paged through; counting and skipping more rows makes lists slow
MAX_FOUND = 100  # people whose entries a search shows


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the first `MAX_LISTED` rows and counts no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or `MAX_LISTED`."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by().values("pk")[:MAX_LISTED].count()


class AuditedPage(ReadOnlyAdmin):
    """The page of a row, of which each look is recorded. HEAD and what browsers fetch in advance are refused."""

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the page of a row."""
        if is_preview(request):
            return HttpResponseForbidden()
        return super().changeform_view(request, object_id, form_url, extra_context)

    def render_change_form(  # noqa: PLR0913, PLR0917 - as Django has it
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Show the row, and record that it is shown."""
        if obj is not None:
            self.record_page(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def record_page(self, request: HttpRequest, shown: Any) -> None:
        """Record that the page of this row is shown."""
        raise NotImplementedError


class AuditedAdmin(AuditedPage):
    """Lists and pages of which each search is recorded, and what subclasses record besides.

    HEAD and what browsers fetch in advance are refused: they would look without a record, or record a look that was
    none.
    """

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show a page of the list, and record what was looked for and is shown."""
        if is_preview(request):
            return HttpResponseForbidden()
        response: HttpResponse = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            if context["cl"].query:
                self.record_search(request, context["cl"].paginator.count)
            self.record_list(request, context["cl"].result_list)
        return response

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search; not for the choices of a form, which nothing would record."""
        if request.path == reverse("admin:autocomplete"):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def record_search(self, request: HttpRequest, hits: int) -> None:
        """Record that somebody searched this list, and how many rows were found; never what for."""
        chosen = chosen_conversation(request)
        found = f"{hits} or more" if hits >= MAX_LISTED else hits
        record(
            AuditAction.SEARCHED,
            actor_id=request.user.pk,
            conversation_id=chosen,
            detail=f"{self.opts.model_name}: {found} found",
        )

    def record_list(self, request: HttpRequest, rows: Iterable[Any]) -> None:
        """Record that these rows are shown in the list."""


def chosen_conversation(request: HttpRequest) -> int | None:
    """Return the id of the conversation whose messages alone are listed; None if all are."""
    text = request.GET.get("conversation__id__exact", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def record_reading(request: HttpRequest, messages: Iterable[Message]) -> None:
    """Record that these messages are shown to the user of the request, before they are: ids, never texts."""
    user = services.signed_in(request.user)
    shown: dict[int, list[int]] = {}
    for message in messages:
        shown.setdefault(message.conversation_id, []).append(message.pk)
    entries = []
    for conversation_id, message_ids in shown.items():
        ids = ", ".join(map(str, sorted(message_ids)))
        logger.info("user %s is shown messages %s of conversation %s", user.pk, ids, conversation_id)
        entry = AuditEntry(actor_id=user.pk, action=AuditAction.OPENED, conversation_id=conversation_id)
        entry.detail = f"messages {ids}"
        entries.append(entry)
    record_all(entries)


def record_opening(request: HttpRequest, conversation: Conversation, detail: str) -> None:
    """Record that this conversation is shown to the user of the request, and what of it."""
    record(AuditAction.OPENED, actor_id=request.user.pk, conversation_id=conversation.pk, detail=detail)


def name_of(user_id: str) -> Subquery:
    """Return the user name of the user whose number is in this column."""
    return Subquery(User.objects.filter(pk=OuterRef(user_id)).values("username"))


def named(name: str | None, user_id: int | None) -> str:
    """Return a link to a user; their number if they do not exist any more."""
    if user_id is None:
        return "-"
    url = reverse("admin:accounts_user_change", args=[user_id])
    return format_html('<a href="{}">{}</a>', url, shown_name(name)) if name else f"#{user_id}"


def conversation_link(conversation_id: int | None) -> str:
    """Return a link to a conversation."""
    if conversation_id is None:
        return "-"
    url = reverse("admin:chat_conversation_change", args=[conversation_id])
    return format_html('<a href="{}">#{}</a>', url, conversation_id)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """The audit trail, newest first; it cannot be changed."""

    list_display = ("created_at", "actor", "action", "conversation", "person", "detail")
    list_filter = ("action", "created_at")
    search_fields = ("actor_id",)  # shows the field; `get_search_results` searches
    search_help_text = _("User name or e-mail address of who did it, or of whom it was done to.")
    ordering = ("-pk",)
    sortable_by = ()
    paginator = CappedPaginator
    fields = list_display
    readonly_fields = list_display

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Return the entries, with the names of the people that still exist."""
        rows: QuerySet[AuditEntry] = super().get_queryset(request)
        return rows.annotate(actor_name=name_of("actor_id"), person_name=name_of("person_id"))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the entries of and about the people whose name or address contains the term."""
        if not search_term:
            return queryset, False
        if not may_search(search_term):
            return queryset.none(), False
        people = User.objects.filter(Q(username__icontains=search_term) | Q(email__icontains=search_term))
        found = list(people.order_by("pk").values_list("pk", flat=True)[:MAX_FOUND])
        return queryset.filter(Q(actor_id__in=found) | Q(person_id__in=found)), False

    @admin.display(description=_("who"))
    def actor(self, entry: Any) -> str:
        """Return who did it."""
        return named(entry.actor_name, entry.actor_id)

    @admin.display(description=_("person"))
    def person(self, entry: Any) -> str:
        """Return to whom."""
        return named(entry.person_name, entry.person_id)

    @admin.display(description=_("conversation"))
    def conversation(self, entry: AuditEntry) -> str:
        """Return which conversation."""
        return conversation_link(entry.conversation_id)
