"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.answer import Answer
from chat.models.conversation import (
    ANSWERABLE,
    Conversation,
    ConversationQuerySet,
    LastSeen,
    Message,
    MessageQuerySet,
    take_seq,
)
from chat.models.mentor import Mentor

__all__ = [
    "ANSWERABLE",
    "Answer",
    "Conversation",
    "ConversationQuerySet",
    "LastSeen",
    "Mentor",
    "Message",
    "MessageQuerySet",
    "take_seq",
]
