"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.conversation import (
    Conversation,
    ConversationQuerySet,
    LastSeen,
    Message,
    MessageQuerySet,
    take_seq,
)
from chat.models.notice_times import after_reading, notice_delay

__all__ = [
    "Conversation",
    "ConversationQuerySet",
    "LastSeen",
    "Message",
    "MessageQuerySet",
    "after_reading",
    "notice_delay",
    "take_seq",
]
