"""Who waits, worked out plainly from the messages: what the writer, the models and healing must agree with."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from chat.models import Answer, Conversation

Wait = tuple[datetime, datetime]


def true_waiting(conversation: Conversation, done: Collection[int] = ()) -> tuple[datetime | None, list[Wait]]:
    """Return since when the student waits, and (waited from, answered at) of each first answer.

    `done` are the seqs behind which the mentor said that no reply is needed.
    """
    since, answers = None, []
    rows = conversation.messages.order_by("seq").values_list("seq", "sender", "timestamp")
    seqs = {seq: (sender, at) for seq, sender, at in rows}
    for seq in sorted(seqs.keys() | set(done)):
        sender, at = seqs.get(seq, (None, None))
        if sender == conversation.teacher.user_id:
            if since is not None and at is not None and since < at:
                answers.append((since, at))
            since = None
        elif sender == conversation.student.user_id and since is None:
            since = at
        if seq in done:
            since = None
    return since, answers


def stored_waiting(conversation: Conversation) -> tuple[datetime | None, list[Wait]]:
    """Return the same as it is stored."""
    rows = Answer.objects.filter(conversation=conversation, mentor=conversation.teacher).order_by("answered_at")
    since = Conversation.objects.values_list("waiting_since", flat=True).get(pk=conversation.pk)
    return since, list(rows.values_list("waited_from", "answered_at"))


def since_of(conversation: Conversation) -> Any:
    """Return since when the student waits, as it is stored."""
    return stored_waiting(conversation)[0]
