"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.answer import Answer
from chat.models.audit import AuditAction, AuditEntry
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
from chat.models.reports import Report, ReportedMessage, ReportOutcome, ReportState, ToldLead

__all__ = [
    "ANSWERABLE",
    "Answer",
    "Assignment",
    "AuditAction",
    "AuditEntry",
    "Conversation",
    "ConversationQuerySet",
    "HandoffNote",
    "LastSeen",
    "Mentor",
    "Message",
    "MessageQuerySet",
    "Report",
    "ReportOutcome",
    "ReportState",
    "ReportedMessage",
    "ToldLead",
    "after_reading",
    "notice_delay",
    "take_seq",
]
