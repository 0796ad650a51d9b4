"""Conversations and messages in the admin: they can be read, not changed, and each reading of texts is recorded."""

from typing import Any, cast

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Count, Max, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from accounts.admin_names import name_column, shown_name
from accounts.models import UserProfile
from chat.admin_read_only import ReadOnlyAdmin
from chat.admin_transcript import record_reading, transcript
from chat.admin_waiting import WaitingFilter, waiting_since
from chat.models import Conversation, Message

MAX_LISTED = 10_000  # messages that can be paged through; counting and skipping more rows makes lists slow
MAX_SEARCHED = 100_000  # newest messages that are searched where no conversation is chosen


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Pages through the first `MAX_LISTED` rows and counts no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, or `MAX_LISTED`."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[:MAX_LISTED].count()


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    """Conversations: their participants, and the numbers of messages and of unread messages."""

    list_display = (
        "__str__",
        name_column("student", _("student"), "student__full_name"),
        name_column("teacher", _("teacher"), "teacher__full_name"),
        "updated_at",
        waiting_since,
        "messages",
        "unread_count",
        "active",
    )
    list_select_related = ("student", "teacher")
    list_filter = (WaitingFilter, "updated_at")
    search_fields = tuple(
        f"{side}__{field}"
        for side in ("student", "teacher")
        for field in ("full_name__folded", "user__username", "user__email")
    )
    search_help_text = _("Name, user name or e-mail address of either side.")
    ordering = ("-updated_at", "-pk")
    fields = ("student_link", "teacher_link", "active", "created_at", "updated_at", "messages", "unread_count")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """Return the conversations, each with its number of unread messages."""
        unread = Message.objects.filter(conversation=OuterRef("pk"), is_read=False).order_by().values("conversation")
        count = Subquery(unread.annotate(count=Count("pk")).values("count"))
        rows: Any = super().get_queryset(request)
        return cast(QuerySet[Conversation], rows.with_waits_since().annotate(unread_count=Coalesce(count, 0)))

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the pages; ours first, because Django's last one matches any text."""
        view = self.admin_site.admin_view(self.transcript)
        own = path("<int:conversation_id>/transcript/", view, name="chat_conversation_transcript")
        return [own, *super().get_urls()]

    def transcript(self, request: HttpRequest, conversation_id: int) -> HttpResponse:
        """Show a conversation as a thread."""
        return transcript(request, conversation_id, self.admin_site)

    @admin.display(description=_("student"))
    def student_link(self, conversation: Conversation) -> str:
        """Return a link to the student."""
        return _profile_link(conversation.student)

    @admin.display(description=_("teacher"))
    def teacher_link(self, conversation: Conversation) -> str:
        """Return a link to the mentor."""
        return _profile_link(conversation.teacher)

    @admin.display(description=_("messages"), ordering="last_seq")
    def messages(self, conversation: Conversation) -> str:
        """Return how many messages were sent, as a link to them."""
        url = reverse("admin:chat_conversation_transcript", args=[conversation.pk])
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

    list_display = (
        "__str__",
        "conversation_link",
        "seq",
        name_column("sender", _("sender"), "sender"),
        "excerpt",
        "timestamp",
        "is_read",
    )
    list_select_related = ("sender",)
    list_filter = ("is_read", "timestamp")
    search_fields = ("content",)
    search_help_text = _(
        "Searches the texts of one conversation, if you came from there, else of the newest 100,000 messages."
    )
    paginator = CappedPaginator
    unfiltered = ("content",)
    fields = ("conversation_link", "seq", "sender_name", "timestamp", "is_read", "text")
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
        return format_html('<span class="excerpt" dir="auto">{}</span>', Truncator(message.content).chars(80))

    @admin.display(description=_("content"))
    def text(self, message: Message) -> str:
        """Return the text."""
        return format_html('<div class="text" dir="auto">{}</div>', message.content)

    @admin.display(description=_("sender"))
    def sender_name(self, message: Message) -> str:
        """Return the user name of the sender."""
        return shown_name(message.sender)


def _conversation_chosen(request: HttpRequest) -> bool:
    return "conversation__id__exact" in request.GET


def _profile_link(profile: UserProfile) -> str:
    url = reverse("admin:accounts_userprofile_change", args=[profile.pk])
    return format_html('<a href="{}">{}</a>', url, shown_name(profile))
