"""The chat's REST paths, under `/api/v1/chat/`."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from chat.views import conversations, former, handoff, reports
from chat.wire.client_frames import parse_id


class RowIdConverter(IntConverter):
    """A row's id. A number that does not fit the column is -1, an id that no row has."""

    def to_python(self, value: str) -> int:
        """Return the id."""
        return parse_id(value)


register_converter(RowIdConverter, "row_id")

app_name = "chat"
urlpatterns = [
    path("my-conversation/", conversations.StudentConversationView.as_view(), name="student-my-conversation"),
    path(
        "my-conversation/messages/",
        conversations.StudentMessagesView.as_view(),
        name="student-my-conversation-messages",
    ),
    path("my-conversation/former/", former.FormerConversationsView.as_view(), name="student-former-conversations"),
    path(
        "my-conversation/former/<row_id:conversation_pk>/messages/",
        former.FormerMessagesView.as_view(),
        name="student-former-conversation-messages",
    ),
    path("teacher/conversations/", conversations.MentorConversationsView.as_view(), name="teacher-conversations-list"),
    path(
        "teacher/conversations/<row_id:conversation_pk>/messages/",
        conversations.MentorMessagesView.as_view(),
        name="teacher-conversation-messages",
    ),
    path(
        "teacher/conversations/<row_id:conversation_pk>/handoff-note/",
        handoff.HandoffNoteView.as_view(),
        name="teacher-conversation-handoff-note",
    ),
    path(
        "conversations/<row_id:conversation_pk>/mark-read/",
        conversations.MarkReadView.as_view(),
        name="conversation-mark-read",
    ),
    path("conversations/<row_id:conversation_pk>/done/", conversations.DoneView.as_view(), name="conversation-done"),
    path("messages/<row_id:message_pk>/report/", reports.ReportView.as_view(), name="message-report"),
]
