"""The tables of conversations, and the queries on them: one module for what changes together."""

from chat.models.audit import AuditAction, AuditEntry
from chat.models.conversation import (
    Conversation,
    ConversationQuerySet,
    LastSeen,
    Message,
    MessageQuerySet,
    take_seq,
)
from chat.models.reports import Report, ReportedMessage, ReportOutcome, ReportState

__all__ = [
    "AuditAction",
    "AuditEntry",
    "Conversation",
    "ConversationQuerySet",
    "LastSeen",
    "Message",
    "MessageQuerySet",
    "Report",
    "ReportOutcome",
    "ReportState",
    "ReportedMessage",
    "take_seq",
]
