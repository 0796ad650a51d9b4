"""Conversations and messages in the admin: they can be read, not changed, and each reading of texts is recorded."""

import logging
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.paginator import Paginator
from django.db.models import Count, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from accounts.admin_base import BaseAdmin
from chat import services
from chat.models import Conversation, Message

logger = logging.getLogger(__name__)

MAX_LISTED = 10_000  # messages that can be paged through; counting and skipping more rows makes lists slow
MAX_SEARCHED = 100_000  # newest messages that are searched where no conversation is chosen


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the first `MAX_LISTED` rows and counts no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or `MAX_LISTED`."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:MAX_LISTED].count()


class ReadOnlyAdmin(BaseAdmin):
    """Read-only: a change here would bypass the order and the delivery of messages."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count the whole table once for each filter

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Conversations: their participants, and the numbers of messages and of unread messages."""

    list_display = ("__str__", "student", "teacher", "updated_at", "messages", "unread_count", "active")
    list_select_related = ("student", "teacher")
    list_filter = ("updated_at",)
    search_fields = tuple(
        f"{side}__{field}"
        for side in ("student", "teacher")
        for field in ("full_name", "user__username", "user__email")
    )
    search_help_text = _("Name, user name or e-mail address of either side.")
    ordering = ("-updated_at", "-pk")
    fields = ("student", "teacher", "active", "created_at", "updated_at", "messages", "unread_count")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """Return the conversations, each with its number of unread messages."""
        unread = Message.objects.filter(conversation=OuterRef("pk"), is_read=False).order_by().values("conversation")
        count = Subquery(unread.annotate(count=Count("pk")).values("count"))
        rows: QuerySet[Conversation] = super().get_queryset(request)
        return rows.annotate(unread_count=Coalesce(count, 0))

    @admin.display(description=_("messages"), ordering="last_seq")
    def messages(self, conversation: Conversation) -> str:
        """Return how many messages were sent, as a link to them."""
        url = reverse("admin:chat_message_changelist", query={"conversation__id__exact": conversation.pk})
        return format_html('<a href="{}">{}</a>', url, conversation.last_seq)

    @admin.display(description=_("unread"))
    def unread_count(self, conversation: Any) -> int:
        """Return how many messages their recipients have not read."""
        count: int = conversation.unread_count
        return count

    @admin.display(description=_("still active"), boolean=True)
    def active(self, conversation: Conversation) -> bool:
        """Return whether the student still has this mentor."""
        return conversation.is_active


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Messages. The history of a conversation, and the log, record who was shown which of its messages."""

    list_display = ("__str__", "conversation_link", "seq", "sender", "excerpt", "timestamp", "is_read")
    list_select_related = ("sender",)
    list_filter = ("is_read", "timestamp")
    search_fields = ("content",)
    search_help_text = _(
        "Searches the texts of one conversation, if you came from there, else of the newest 100,000 messages."
    )
    paginator = CappedPaginator
    unfiltered = ("content",)
    fields = ("conversation_link", "seq", "sender", "timestamp", "is_read", "content")
    readonly_fields = fields

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, by the index that serves it."""
        return ("conversation", "-seq") if _conversation_chosen(request) else ("-pk",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search one conversation, or the newest messages: no search reads a whole table."""
        if search_term and not _conversation_chosen(request):
            newest = Message.objects.aggregate(newest=Max("pk"))["newest"] or 0
            queryset = queryset.filter(pk__gt=newest - MAX_SEARCHED)
        return super().get_search_results(request, queryset, search_term)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show a page of the list."""
        response = super().changelist_view(request, extra_context)
        context = getattr(response, "context_data", None) or {}
        if "cl" in context:
            record_reading(request, context["cl"].result_list)
        return response

    def render_change_form(  # noqa: PLR0913, PLR0917 - as Django has it
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Message | None = None,
    ) -> HttpResponse:
        """Show one message."""
        if obj is not None:
            record_reading(request, [obj])
        return super().render_change_form(request, context, add, change, form_url, obj)

    @admin.display(description=_("conversation"))
    def conversation_link(self, message: Message) -> str:
        """Return a link to the conversation."""
        url = reverse("admin:chat_conversation_change", args=[message.conversation_id])
        return format_html('<a href="{}">#{}</a>', url, message.conversation_id)

    @admin.display(description=_("content"))
    def excerpt(self, message: Message) -> str:
        """Return the beginning of the text."""
        return Truncator(message.content).chars(80)


def record_reading(request: HttpRequest, messages: Iterable[Message]) -> None:
    """Record that these messages are shown to the user of the request, before they are: ids, never texts."""
    user = services.signed_in(request.user)
    shown: dict[int, list[int]] = {}
    for message in messages:
        shown.setdefault(message.conversation_id, []).append(message.pk)
    conversations = ContentType.objects.get_for_model(Conversation)
    entries = []
    for conversation_id, message_ids in shown.items():
        ids = ", ".join(map(str, sorted(message_ids)))
        logger.info("user %s is shown messages %s of conversation %s", user.pk, ids, conversation_id)
        entries.append(
            LogEntry(
                user=user,
                content_type=conversations,
                object_id=str(conversation_id),
                object_repr=f"#{conversation_id}",
                action_flag=CHANGE,  # the admin's history has no action for reading
                change_message=f"Looked at messages {ids}.",
            )
        )
    LogEntry.objects.bulk_create(entries)


def _conversation_chosen(request: HttpRequest) -> bool:
    return "conversation__id__exact" in request.GET
