"""What verbs, batches and paths leave behind and answer, told by stored rows alone."""

from typing import Any

from accounts.models import User, UserProfile
from accounts.serializers import ProfileBody
from chat.errors import ClientError
from chat.events import MessagePosted
from chat.models import Conversation, Message
from chat.serializers import MessageBody
from tests.cast import profile_object


def told(error: ClientError) -> tuple[Any, ...]:
    """Everything that a client is told by an error."""
    return error.code, error.text, error.status, error.field, error.retry_after


def posted(message: Message, client_id: str | None = None) -> MessagePosted:
    """The event that tells of a stored message, from the database's row."""
    return event_of(Message.objects.select_related("sender__profile").get(pk=message.pk), client_id)


def event_of(message: Message, client_id: str | None = None) -> MessagePosted:
    body = MessageBody(
        id=message.pk,
        sender=message.sender_id,
        sender_profile=ProfileBody(**profile_object(message.sender)),
        content=message.content,
        timestamp=message.timestamp,
        is_read=message.is_read,
        is_own_message=False,
    )
    return MessagePosted(message.conversation_id, message.seq, body, client_id)


def reassign(student: User, mentor: User | None) -> None:
    UserProfile.objects.filter(user=student).update(assigned_mentor=mentor.profile if mentor else None)


def read_flags(conversation: Conversation) -> str:
    """The messages in order, R for read and - for unread."""
    rows = conversation.messages.order_by("seq").values_list("is_read", flat=True)
    return "".join("R" if is_read else "-" for is_read in rows)


def unread(conversation: Conversation) -> list[str]:
    """Return what of the conversation is unread, oldest first."""
    return list(conversation.messages.filter(is_read=False).order_by("seq").values_list("content", flat=True))
