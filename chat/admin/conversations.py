"""Conversations and messages in the admin: they can be read, not changed, and each look is recorded."""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from accounts.admin_base import may_search
from accounts.admin_names import name_column, shown_name
from accounts.models import UserProfile
from chat.admin.audit import AuditedAdmin, CappedPaginator, chosen_conversation, record_opening, record_reading
from chat.admin.dashboard import dashboard
from chat.admin.exports import export_conversations, may_export
from chat.admin.locks import lock_conversations
from chat.admin.read_only import ReadOnlyAdmin
from chat.admin.reports import ReportedFilter
from chat.admin.search import conversations_with, of_people, warn_if_not_folded, with_words, words_of
from chat.admin.transcript import transcript
from chat.admin.waiting import WaitingFilter, waiting_since
from chat.models import Assignment, Conversation, Message


@admin.register(Conversation)
class ConversationAdmin(AuditedAdmin):
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
    list_filter = (WaitingFilter, ReportedFilter, "is_locked", "updated_at")
    paginator = CappedPaginator
    search_fields = ("pk",)  # shows the field; `get_search_results` searches
    search_help_text = _("Name, user name or e-mail address of either side, or words of a message.")
    ordering = ("-updated_at", "-pk")
    actions = ["export_conversations", "lock_conversations", "unlock_conversations"]
    fields = (
        "student_link",
        "teacher_link",
        "active",
        "is_locked",
        "created_at",
        "updated_at",
        "messages",
        "unread_count",
    )
    readonly_fields = (*fields, "trail")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Conversation]:
        """Return the conversations, each with its number of unread messages."""
        unread = Message.objects.filter(conversation=OuterRef("pk"), is_read=False).order_by().values("conversation")
        count = Subquery(unread.annotate(count=Count("pk")).values("count"))
        rows: Any = super().get_queryset(request)
        return cast(QuerySet[Conversation], rows.with_waits_since().annotate(unread_count=Coalesce(count, 0)))

    def has_lock_permission(self, request: HttpRequest) -> bool:
        """Leads and superusers."""
        return request.user.has_perm("chat.lock_conversations")

    @admin.action(description=_("Lock selected conversations"), permissions=["lock"])
    def lock_conversations(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        """Refuse messages in them."""
        lock_conversations(self, request, queryset, True)

    @admin.action(description=_("Unlock selected conversations"), permissions=["lock"])
    def unlock_conversations(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> None:
        """Accept messages in them again."""
        lock_conversations(self, request, queryset, False)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search people and, for those who may see messages, texts: of the newest messages with these words."""
        if not search_term:
            return queryset, False
        if request.path == reverse("admin:autocomplete") or not may_search(search_term):
            return queryset.none(), False
        found = of_people(queryset, search_term)
        if request.user.has_perm("chat.view_message"):
            warn_if_not_folded(request)
            found |= queryset.filter(pk__in=conversations_with(words_of(search_term)))
        return found, False

    def record_page(self, request: HttpRequest, shown: Conversation) -> None:
        """Record that a conversation is shown without its texts."""
        record_opening(request, shown, "people and numbers")

    def get_fields(self, request: HttpRequest, obj: Conversation | None = None) -> Any:
        """Return what is shown; who has looked at it only to those who may see the audit trail."""
        fields = super().get_fields(request, obj)
        return (*fields, "trail") if request.user.has_perm("chat.view_auditentry") else fields

    def get_urls(self) -> list[URLPattern]:
        """Return the addresses of the pages; ours first, because Django's last one matches any text."""
        view = self.admin_site.admin_view(self.transcript)
        own = path("<int:conversation_id>/transcript/", view, name="chat_conversation_transcript")
        board = path("dashboard/", self.admin_site.admin_view(self.dashboard), name="chat_dashboard")
        return [own, board, *super().get_urls()]

    def transcript(self, request: HttpRequest, conversation_id: int) -> HttpResponse:
        """Show a conversation as a thread."""
        return transcript(request, conversation_id, self.admin_site)

    def dashboard(self, request: HttpRequest) -> HttpResponse:
        """Show what those who lead look at every morning."""
        return dashboard(request, self.admin_site)

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Leads and superusers."""
        return may_export(request)

    @admin.action(description=_("Export selected conversations"), permissions=["export"])
    def export_conversations(self, request: HttpRequest, queryset: QuerySet[Conversation]) -> Any:
        """Answer with a file."""
        return export_conversations(request, queryset)

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

    @admin.display(description=_("audit trail"))
    def trail(self, conversation: Conversation) -> str:
        """Return a link to who has looked at this conversation, and what was done."""
        url = reverse("admin:chat_auditentry_changelist")
        return format_html('<a href="{}?conversation_id__exact={}">{}</a>', url, conversation.pk, _("Show"))

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
class MessageAdmin(AuditedAdmin):
    """Messages. The audit trail, and the log, record who was shown which of them."""

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
    search_fields = ("search_text",)
    search_help_text = _("Words of a text, however their Arabic is written.")
    sortable_by = ()  # no index has the other orders
    paginator = CappedPaginator
    unfiltered = ("content", "search_text")
    fields = ("conversation_link", "seq", "sender_name", "timestamp", "is_read", "text")
    readonly_fields = fields

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Newest first, by the index that serves it."""
        return ("-pk",) if chosen_conversation(request) is None else ("conversation", "-seq")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search the texts of one conversation, or all."""
        if not search_term:
            return queryset, False
        if request.path == reverse("admin:autocomplete") or not may_search(search_term):
            return queryset.none(), False
        warn_if_not_folded(request)
        return with_words(queryset, words_of(search_term), everything=chosen_conversation(request) is not None), False

    def record_list(self, request: HttpRequest, rows: Iterable[Message]) -> None:
        """Record that the beginnings of these messages are shown."""
        record_reading(request, rows)

    def record_page(self, request: HttpRequest, shown: Message) -> None:
        """Record that a message is shown."""
        record_reading(request, [shown])

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


@admin.register(Assignment)
class AssignmentAdmin(ReadOnlyAdmin):
    """Who mentored whom, newest change first. Hand-off notes are for those who may see them."""

    list_display = (
        "created_at",
        name_column("student", _("student"), "student__full_name"),
        name_column("former", _("former mentor"), "former__full_name"),
        name_column("mentor", _("mentor"), "mentor__full_name"),
        name_column("by", _("changed by"), "by__username"),
        "hand_off",
    )
    list_select_related = ("student", "former", "mentor", "by", "note")
    list_filter = ("created_at",)
    search_fields = ("student__full_name__folded", "student__user__username", "student__user__email")
    search_help_text = _("Name, user name or e-mail address of the student.")
    ordering = ("-pk",)
    paginator = CappedPaginator
    fields = ("created_at", "student_link", "former", "mentor", "by", "hand_off")
    readonly_fields = fields

    def get_list_display(self, request: HttpRequest) -> Any:
        """Show the notes to those who may see them."""
        return [name for name in self.list_display if name != "hand_off" or _may_see_notes(request)]

    def get_fields(self, request: HttpRequest, obj: Assignment | None = None) -> Any:
        """Show the note to those who may see it."""
        return [name for name in self.fields if name != "hand_off" or _may_see_notes(request)]

    @admin.display(description=_("student"))
    def student_link(self, assignment: Assignment) -> str:
        """Return a link to the student."""
        return _profile_link(assignment.student)

    @admin.display(description=_("hand-off note"), empty_value="-")
    def hand_off(self, assignment: Assignment) -> str | None:
        """Return the note, if there is one."""
        note = getattr(assignment, "note", None)
        return format_html('<div class="text" dir="auto">{}</div>', note.text) if note else None


def _may_see_notes(request: HttpRequest) -> bool:
    return request.user.has_perm("chat.view_handoffnote")


def _profile_link(profile: UserProfile) -> str:
    url = reverse("admin:accounts_userprofile_change", args=[profile.pk])
    return format_html('<a href="{}">{}</a>', url, shown_name(profile))
