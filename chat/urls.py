"""The chat's REST paths, under `/api/v1/chat/`."""

from django.urls import path, register_converter
from django.urls.converters import IntConverter

from chat import views


class RowIdConverter(IntConverter):
    """A row's id: digits that fit the column. Longer numbers match no path."""

    regex = "[0-9]{1,18}"


register_converter(RowIdConverter, "row_id")

app_name = "chat"
urlpatterns = [
    path("my-conversation/", views.StudentConversationView.as_view(), name="student-my-conversation"),
    path("my-conversation/messages/", views.StudentMessagesView.as_view(), name="student-my-conversation-messages"),
    path("teacher/conversations/", views.MentorConversationsView.as_view(), name="teacher-conversations-list"),
    path(
        "teacher/conversations/<row_id:conversation_pk>/messages/",
        views.MentorMessagesView.as_view(),
        name="teacher-conversation-messages",
    ),
    path(
        "conversations/<row_id:conversation_pk>/mark-read/",
        views.MarkReadView.as_view(),
        name="conversation-mark-read",
    ),
]
