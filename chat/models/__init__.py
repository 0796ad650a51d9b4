"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.conversation import (
    Conversation,
    ConversationQuerySet,
    LastSeen,
    Message,
    MessageQuerySet,
    take_seq,
)
from chat.models.moderation import Assignment, HandoffNote

__all__ = [
    "Assignment",
    "Conversation",
    "ConversationQuerySet",
    "HandoffNote",
    "LastSeen",
    "Message",
    "MessageQuerySet",
    "take_seq",
]
