"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.conversation import (
    Conversation,
    ConversationQuerySet,
    LastSeen,
    Message,
    MessageQuerySet,
    take_seq,
)

__all__ = ["Conversation", "ConversationQuerySet", "LastSeen", "Message", "MessageQuerySet", "take_seq"]
