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
from chat.models.moderation import Assignment, HandoffNote
from chat.models.notice_times import after_reading, notice_delay

__all__ = [
    "ANSWERABLE",
    "Answer",
    "Assignment",
    "Conversation",
    "ConversationQuerySet",
    "HandoffNote",
    "LastSeen",
    "Mentor",
    "Message",
    "MessageQuerySet",
    "after_reading",
    "notice_delay",
    "take_seq",
]
