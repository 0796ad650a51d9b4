"""Conversations, messages, reports and the audit trail in Django's admin, and what the staff does there.

It shows and asks; what is done is in `chat.moderation`.
"""

from chat.admin import audit, conversations, people, reports, waiting  # noqa: F401 - they register their pages
