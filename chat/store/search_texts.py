"""Fills the search column of messages that an older version, or a restore, stored without it."""

import time
from collections.abc import Callable

from django.db import connection, transaction

from accounts.names import search_text
from chat.models import Message

AT_ONCE = 1000  # messages in one transaction, which senders in the same conversations do not wait for
REST = 0.5  # of the time that a step took: for so long the next one waits, so that the chat stays quick


def fold_search_texts(*, told: Callable[[int], None] = lambda count: None) -> int:
    """Fill the column of all messages that lack it, in steps, and return their number. It can be killed and repeated.

    `told` is called after each step with the number so far.
    """
    count, after = 0, 0
    while True:
        begin = time.monotonic()
        keys = _fold_some(after)
        if not keys:
            return count
        count, after = count + len(keys), keys[-1]
        told(count)
        time.sleep(REST * (time.monotonic() - begin))


def _fold_some(after: int) -> list[int]:
    """Fill the first messages above this id, and return the ids of those that were to be filled."""
    with transaction.atomic():
        # Locked, so that nothing is put back that is erased meanwhile.
        rows = Message.objects.filter(pk__gt=after, search_text=None).order_by("pk").select_for_update(no_key=True)
        messages = list(rows.only("content")[:AT_ONCE])
        with connection.cursor() as cursor:  # ten times as fast as `bulk_update`
            texts = [(search_text(message.content), message.pk) for message in messages]
            cursor.executemany("UPDATE chat_message SET search_text = %s WHERE id = %s", texts)
    return [message.pk for message in messages]
