"""Sends one notice: writes first that it is being sent, so that nothing is ever sent twice.

A process that is killed in between loses this notice, and no other.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Least
from django.utils import timezone

from accounts.authentication import session_fits
from chat.models import Conversation, Message
from notices import metrics
from notices.looks import RETRY_SECONDS, Channel, Look, Plan, Told
from notices.mail import MailSender
from notices.models import Notice, PushSubscription, Side
from notices.push import Outcome, PushSender

logger = logging.getLogger(__name__)

Owed = Collection[int] | None  # subscriptions that a push was not sent to; None for all, or none

GIVE_UP_AFTER = timedelta(days=1)  # a notice that could not be sent for so long is not tried again
NEVER_TOLD: dict[str, Any] = {
    **{f"{one.value}_{name}": value for one in Channel for name, value in Told()._asdict().items()},
    "push_owed": None,
}
FIELDS = tuple(field.name for field in Notice._meta.concrete_fields if not field.primary_key)


def settle(plans: Sequence[Plan]) -> list[Plan]:
    """Store what these plans of one side change; return those that were stored.

    A plan is stored only while nothing has changed since its look, and if nobody has locked the conversation.
    """
    if not plans:
        return []
    side, by_id = plans[0].look.side, {plan.look.conversation_id: plan for plan in plans}
    column = f"{side}_notify_at"
    with transaction.atomic():
        rows = Conversation.objects.filter(pk__in=by_id).order_by("pk")
        locked = rows.select_for_update(skip_locked=True, no_key=True)
        found = list(locked.values_list("pk", column, "last_seq", f"{side}_read_seq"))
        # The times alone do not tell: after a push, the next look may be due at the moment at which this one was.
        told = _told([pk for pk, *_ in found], side)
        same = [by_id[pk] for pk, *seen in found if [*seen, told.get(pk, NEVER_TOLD)] == _seen(by_id[pk].look)]
        _store_notices([plan for plan in same if plan.changes])
        _store_times(column, same)
    return same


def _seen(look: Look) -> list[Any]:
    return [look.notify_at, look.last_seq, look.read_seq, _as_stored(look)]


def _told(conversation_ids: Collection[int], side: Side) -> dict[int, dict[str, Any]]:
    """Return what this side of these conversations was told of, as `_as_stored` does, by conversation id."""
    rows = Notice.objects.filter(conversation_id__in=conversation_ids, side=side)
    return {row.pop("conversation"): row for row in rows.values("conversation", *NEVER_TOLD)}


def _as_stored(look: Look) -> dict[str, Any]:
    """Return what the reader was told of at the time of this look, by the fields of `Notice`."""
    told = {f"{one.value}_{name}": getattr(look.told[one], name) for one in Channel for name in Told._fields}
    return told | {"push_owed": look.push_owed}


def _store_notices(plans: Sequence[Plan]) -> None:
    rows = [
        Notice(
            conversation_id=plan.look.conversation_id,
            side=plan.look.side,
            **_as_stored(plan.look) | dict(plan.changes),
        )
        for plan in plans
    ]
    updated = [name for name in FIELDS if name not in {"conversation", "side"}]
    Notice.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["conversation", "side"], update_fields=updated
    )


def _store_times(column: str, plans: Sequence[Plan]) -> None:
    done = [plan.look.conversation_id for plan in plans if plan.next_at is None]
    if done:
        Conversation.objects.filter(pk__in=done).update(**{column: None})
    later = [Conversation(pk=plan.look.conversation_id, **{column: plan.next_at}) for plan in plans if plan.next_at]
    if later:
        Conversation.objects.bulk_update(later, [column])


class Sender:
    """Sends notices over both channels."""

    def __init__(self, mail: MailSender) -> None:
        self._push, self._mail = PushSender(), mail

    def send(self, plan: Plan) -> Outcome:
        """Send what this plan says, which `settle` has stored; what certainly was not sent is tried again."""
        send: dict[Channel | None, Callable[[Look], tuple[Outcome, Owed]]]
        send = {Channel.PUSH: self._send_push, Channel.EMAIL: self._send_email}
        assert plan.channel is not None  # noqa: S101 - for mypy
        owed: Owed = None
        try:
            outcome, owed = send[plan.channel](plan.look)
        except Exception:  # such as an address that no e-mail can have: the others are sent all the same
            logger.exception("a notice for user %s failed", plan.look.user_id)
            outcome = Outcome.FAILED
        if outcome is Outcome.NOT_SENT:
            _give_back(plan, owed)
        if outcome is not Outcome.READ:
            metrics.NOTICES.labels(plan.channel.value, outcome.value).inc()
        return outcome

    def _send_email(self, look: Look) -> tuple[Outcome, Owed]:
        count = unread_count(look)
        return (self._mail.send(look, count) if count else Outcome.READ), None

    def _send_push(self, look: Look) -> tuple[Outcome, Owed]:
        """Send one push to each of the reader's browsers; it is `NOT_SENT` if that holds for any, which are returned.

        None are returned if it holds for all. What is read between two of them is not sent to the second.
        """
        outcomes: dict[int, Outcome] = {}
        for subscription in subscriptions(look.user_id):
            if look.owed is not None and subscription.pk not in look.owed:
                continue
            count = unread_count(look)
            if not count:
                return (_best(outcomes.values()) if outcomes else Outcome.READ), None
            payload = {"conversation_id": look.conversation_id, "name": look.other_name, "count": count}
            pk, outcome = (
                subscription.pk,
                self._push.send(subscription, payload, f"conversation-{look.conversation_id}"),
            )
            if outcome is Outcome.GONE:
                subscription.delete()
            else:
                outcomes[pk] = outcome
        owed = [pk for pk, outcome in outcomes.items() if outcome is Outcome.NOT_SENT]
        if not owed:
            return _best(outcomes.values()), None
        return Outcome.NOT_SENT, look.owed if len(owed) == len(outcomes) else owed


def _best(outcomes: Iterable[Outcome]) -> Outcome:
    """Return what became of a notice of which this became on each browser."""
    return Outcome.SENT if Outcome.SENT in outcomes else Outcome.FAILED  # also if no browser takes pushes any more


def unread_count(look: Look) -> int:
    """Return how many messages the reader has not read."""
    unread = Message.objects.filter(conversation=look.conversation_id, sender=look.other_user_id, is_read=False)
    return unread.filter(is_erased=False).count()


def subscriptions(user_id: int) -> list[PushSubscription]:
    """Return the browsers that take this person's pushes; deletes those whose session has ended."""
    rows = PushSubscription.objects.filter(user=user_id).select_related("user")
    found = list(rows.filter(session__expire_date__gt=timezone.now()).select_related("session"))
    ended = [row for row in found if not session_fits(row.session.get_decoded(), row.user)]
    for row in ended:
        row.delete()
    return [row for row in found if row not in ended]


def _give_back(plan: Plan, owed: Owed) -> None:
    """Undo what `settle` has stored, unless something newer was stored: in a minute it is tried again.

    `owed` are the subscriptions that it is tried with, None for all.
    """
    look, channel = plan.look, plan.channel
    assert channel is not None  # noqa: S101 - for mypy
    if look.now - look.oldest[channel] > GIVE_UP_AFTER:
        return
    column, again = f"{look.side}_notify_at", look.now + timedelta(seconds=RETRY_SECONDS)
    told = _as_stored(look)
    if owed is not None:
        told["push_owed"] = {"read_seq": look.read_seq, "subscriptions": list(owed)}
    mine = {f"{channel.value}_seq": look.last_seq, f"{channel.value}_at": look.now}
    with transaction.atomic():
        row = Conversation.objects.select_for_update(no_key=True).filter(pk=look.conversation_id)
        if not row.exists():
            return
        if Notice.objects.filter(conversation=look.conversation_id, side=look.side, **mine).update(**told):
            row.update(**{column: Least(Coalesce(F(column), again), again)})
