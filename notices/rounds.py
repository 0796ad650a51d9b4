"""The rounds of `manage.py notify_unread`: take what is due, and send it, until nothing is.

Several processes may do this at the same time, and share the work: each notice is sent by the one that stores first
that it is being sent.
"""

import logging
import math
import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Sequence

from chat.live.readers import ReaderLookUp
from chat.runtime.batch_queue import batches
from notices.looks import Channel, Look, Plan, due, look_at, plan
from notices.mail import MailSender
from notices.models import Side
from notices.push import Outcome
from notices.report_mail import ReportMail
from notices.sending import Sender, settle
from notices.start import started_at

logger = logging.getLogger(__name__)

AT_ONCE = 1000  # conversations that are looked at together: asking once costs as much as 500 of them
SETTLED_AT_ONCE = 100  # of these, where nothing is sent: they are locked meanwhile
LEADS_SECONDS = 30.0  # at least between two looks whether there are reports to tell the leads of

Sums = Counter[tuple[Channel, Outcome]]


class Rounds:
    """Sends notices; `stopping` ends a round between two of them."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        mail = MailSender()
        self._readers, self._sender, self._report_mail = ReaderLookUp(), Sender(mail), ReportMail(mail)
        self._leads_told = -math.inf  # by `time.monotonic`

    def run(self) -> Sums:
        """Send everything that is due now; return how much was sent over which channel."""
        return self._tell_leads() + self._tell_unread()

    def close(self) -> None:
        """Close the connections."""
        self._readers.close()

    def _tell_leads(self) -> Sums:
        """Tell the leads of new reports."""
        self._leads_told = time.monotonic()
        return self._report_mail.tell_leads()

    def _tell_leads_meanwhile(self) -> Sums:
        """Tell the leads, who do not wait until everybody else was told; nothing if they were told just now."""
        is_time = time.monotonic() - self._leads_told >= LEADS_SECONDS
        return self._tell_leads() if is_time else Counter()

    def _tell_unread(self) -> Sums:
        """Tell people of messages that they have not read."""
        sums: Sums = Counter()
        for side in Side:
            seen: set[int] = set()
            while not self._stopping.is_set():
                ids = due(side, AT_ONCE)
                if seen.issuperset(ids):
                    break  # what is left, somebody has locked, or another process is sending
                seen.update(ids)
                sums += self._tell(ids, side)
        return sums

    def _tell(self, ids: Sequence[int], side: Side) -> Sums:
        plans = self._plans(ids, side)
        for quiet in batches([one for one in plans if one.channel is None], SETTLED_AT_ONCE):
            settle(quiet)
        to_send = [one.look.conversation_id for one in plans if one.channel is not None]
        random.shuffle(to_send)  # so that two processes seldom want the same one
        sums: Sums = Counter()
        for pk in to_send:
            failed: set[Channel] = set()
            while not self._stopping.is_set() and (sent := self._send_next(pk, side, failed)):
                sums.update([sent] if sent[1] is not Outcome.READ else [])
                sums += self._tell_leads_meanwhile()
                if sent[1] is Outcome.NOT_SENT:
                    failed.add(sent[0])
        return sums

    def _send_next(self, pk: int, side: Side, failed: Collection[Channel]) -> tuple[Channel, Outcome] | None:
        """Send what is due for one conversation over one channel; None if nothing is, or another process sends it."""
        for one in settle(self._plans([pk], side, failed)):
            if one.channel is not None:
                return one.channel, self._sender.send(one)
        return None

    def _plans(self, ids: Sequence[int], side: Side, failed: Collection[Channel] = ()) -> list[Plan]:
        looks = look_at(ids, side, started_at())
        reading = self._readers.reading([_reader(look) for look in looks])
        return [plan(look, is_reading=_reader(look) in reading, failed=failed) for look in looks]


def _reader(look: Look) -> tuple[int, int]:
    return look.conversation_id, look.user_id
