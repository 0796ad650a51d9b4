"""The chat's REST paths, under `/api/v1/chat/`."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from chat import former_views, handoff_views, views
from chat.report_view import ReportView
from chat.wire.client_frames import parse_id


class RowIdConverter(IntConverter):
    """A row's id. A number that does not fit the column is -1, an id that no row has."""

    def to_python(self, value: str) -> int:
        """Return the id."""
        return parse_id(value)


register_converter(RowIdConverter, "row_id")

app_name = "chat"
urlpatterns = [
    path("my-conversation/", views.StudentConversationView.as_view(), name="student-my-conversation"),
    path("my-conversation/messages/", views.StudentMessagesView.as_view(), name="student-my-conversation-messages"),
    path(
        "my-conversation/former/", former_views.FormerConversationsView.as_view(), name="student-former-conversations"
    ),
    path(
        "my-conversation/former/<row_id:conversation_pk>/messages/",
        former_views.FormerMessagesView.as_view(),
        name="student-former-conversation-messages",
    ),
    path("teacher/conversations/", views.MentorConversationsView.as_view(), name="teacher-conversations-list"),
    path(
        "teacher/conversations/<row_id:conversation_pk>/messages/",
        views.MentorMessagesView.as_view(),
        name="teacher-conversation-messages",
    ),
    path(
        "teacher/conversations/<row_id:conversation_pk>/handoff-note/",
        handoff_views.HandoffNoteView.as_view(),
        name="teacher-conversation-handoff-note",
    ),
    path(
        "conversations/<row_id:conversation_pk>/mark-read/",
        views.MarkReadView.as_view(),
        name="conversation-mark-read",
    ),
    path("conversations/<row_id:conversation_pk>/done/", views.DoneView.as_view(), name="conversation-done"),
    path("messages/<row_id:message_pk>/report/", ReportView.as_view(), name="message-report"),
]
