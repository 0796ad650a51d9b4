"""The usual Channels chat: the tutorial's consumer with models, one ORM save per message, stock settings."""

import json
import os
from typing import Any

import dj_database_url
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="of a benchmark",
    USE_TZ=True,
    INSTALLED_APPS=["daphne", "channels"],
    DATABASES={"default": dj_database_url.parse(os.environ["DATABASE_URL"], conn_max_age=600)},
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
)
django.setup()

from channels.db import database_sync_to_async  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.db import models  # noqa: E402
from django.http.cookie import parse_cookie  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402


class Row(models.Model):
    class Meta:
        abstract, app_label = True, "peer"


class Person(Row):
    username, email, full_name, role = (models.TextField() for _ in range(4))


class Session(Row):
    key = models.TextField(primary_key=True)
    person = models.ForeignKey(Person, models.CASCADE)
    expires_at = models.DateTimeField()


class Conversation(Row):
    student = models.ForeignKey(Person, models.CASCADE, related_name="+")
    teacher = models.ForeignKey(Person, models.CASCADE, related_name="+")
    updated_at = models.DateTimeField(auto_now=True)


class Message(Row):
    conversation = models.ForeignKey(Conversation, models.CASCADE)
    sender = models.ForeignKey(Person, models.CASCADE)
    content = models.TextField()
    sent_at = models.DateTimeField(auto_now_add=True)
    is_read = models.BooleanField(default=False)


class ChatConsumer(AsyncWebsocketConsumer):
    room: str = ""

    async def connect(self) -> None:
        if not await self.enter():
            await self.close()
            return
        self.room = f"chat_{self.conversation.pk}"
        await self.channel_layer.group_add(self.room, self.channel_name)
        await self.accept()
        await self.send(json.dumps({"type": "connection_established", "conversation_id": str(self.conversation.pk)}))

    async def disconnect(self, code: int) -> None:
        if self.room:
            await self.channel_layer.group_discard(self.room, self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        message = await self.save(json.loads(text_data or "{}")["message"])
        await self.channel_layer.group_send(self.room, {"type": "new.message", "message": message})

    async def new_message(self, event: dict[str, Any]) -> None:
        message = {**event["message"], "is_own_message": event["message"]["sender"] == self.person.pk}
        await self.send(json.dumps({"type": "new_message", "message": message}))

    @database_sync_to_async
    def enter(self) -> bool:
        cookie = parse_cookie(dict(self.scope["headers"]).get(b"cookie", b"").decode())
        sessions = Session.objects.select_related("person").filter(expires_at__gt=timezone.now())
        session = sessions.filter(key=cookie.get("sessionid", "")).first()
        pk = self.scope["url_route"]["kwargs"]["conversation_id"]
        conversation = Conversation.objects.filter(pk=pk).first()
        if session is None or conversation is None:
            return False
        self.person, self.conversation = session.person, conversation
        if self.person.pk not in (conversation.student_id, conversation.teacher_id):
            return False
        Message.objects.filter(conversation=conversation, is_read=False).exclude(sender=self.person).update(
            is_read=True
        )
        return True

    @database_sync_to_async
    def save(self, content: str) -> dict[str, Any]:
        message = Message.objects.create(conversation=self.conversation, sender=self.person, content=content)
        Conversation.objects.get(pk=self.conversation.pk).save()  # updated_at
        person = self.person
        profile = {name: getattr(person, name) for name in ("id", "username", "email", "full_name", "role")}
        return {
            "id": message.pk,
            "sender": person.pk,
            "sender_profile": profile,
            "content": content,
            "timestamp": message.sent_at.isoformat(),
            "is_read": False,
        }


routes = [path("ws/chat/conversations/<int:conversation_id>/", ChatConsumer.as_asgi())]
application = ProtocolTypeRouter({"websocket": URLRouter(routes)})
