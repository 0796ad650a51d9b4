"""The routes of WebSockets."""

from django.urls import path, re_path

from chat.consumers import ChatConsumer, InboxConsumer, RefusingConsumer

websocket_urlpatterns = [
    path("ws/chat/my-conversation/", ChatConsumer.as_asgi()),
    path("ws/chat/conversations/<int:conversation_id>/", ChatConsumer.as_asgi()),
    path("ws/chat/inbox/", InboxConsumer.as_asgi()),
    # Without this route Channels raises, and path scanners fill the log with tracebacks.
    re_path(r"", RefusingConsumer.as_asgi()),
]
