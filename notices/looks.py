"""What there is to tell one participant of a conversation, and when: the rules of notices.

A notice is due some time after the oldest unread message that is no reason yet for one over its channel. After one,
the next waits until the reader has read something, or until `NOTIFY_AGAIN_AFTER` has passed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce, Least, Now

from accounts.models import MENTOR_ROLES, RoleChoices
from chat.models import Conversation, Message
from notices.models import Notice, PushSubscription, Side
from notices.quiet_hours import after_quiet_hours
from notices.start import started_at

RETRY_SECONDS = 60
LOOK_AGAIN_SECONDS = 30  # after which it is looked again whether a reader who has the conversation open has left


class Channel(Enum):
    """How somebody is told."""

    PUSH = "push"
    EMAIL = "email"


class Told(NamedTuple):
    """What a reader was told of over one channel; the fields are those of `Notice`."""

    seq: int = 0
    read_seq: int | None = None
    at: datetime | None = None


class Look(NamedTuple):
    """One participant of a conversation, the reader, as they were at `now`, by the database's clock."""

    conversation_id: int
    side: Side
    now: datetime
    notify_at: datetime | None
    last_seq: int
    read_seq: int
    user_id: int
    email: str
    language: str | None
    other_name: str
    other_user_id: int
    is_open: bool  # whether the reader may be told at all
    reaches: Collection[Channel]
    told: Mapping[Channel, Told]
    push_owed: Mapping[str, Any] | None  # as in `Notice`
    oldest: Mapping[Channel, datetime]  # the time of the oldest unread message above the seq that was told

    @property
    def owed(self) -> Collection[int] | None:
        """The subscriptions that this push is for: None for all, else those that did not get it with the others."""
        owed = self.push_owed
        return owed["subscriptions"] if owed is not None and owed["read_seq"] == self.read_seq else None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done after a look: tell the reader over `channel`, or nothing; and look again at `next_at`.

    `changes` are those of the `Notice`.
    """

    look: Look
    channel: Channel | None
    next_at: datetime | None
    changes: Mapping[str, Any] = field(default_factory=dict)


DELAYS = {Channel.PUSH: "NOTIFY_PUSH_AFTER", Channel.EMAIL: "NOTIFY_EMAIL_AFTER"}


def plan(look: Look, *, is_reading: bool, failed: Collection[Channel] = ()) -> Plan:
    """Return what is to be done; `is_reading` says whether the reader has the conversation open.

    Over a channel that has just `failed`, it is tried again after `RETRY_SECONDS`.
    """
    dues = {channel: _due(look, channel) for channel in look.oldest if look.is_open and channel in look.reaches}
    retry_at = look.now + timedelta(seconds=RETRY_SECONDS)
    dues |= {channel: max(dues[channel], retry_at) for channel in failed if channel in dues}
    changes = _passed(look)
    ready = [channel for channel, due in dues.items() if due <= look.now]
    if not ready:
        return Plan(look, None, min(dues.values(), default=None), changes)
    if is_reading:
        return Plan(look, None, look.now + _look_again(), changes)
    channel = ready[0]
    later = [due for other, due in dues.items() if other is not channel]
    if channel is Channel.PUSH:
        changes |= {"push_owed": None}
    changes |= {f"{channel.value}_seq": look.last_seq, f"{channel.value}_read_seq": look.read_seq}
    # A channel that is due at the same moment does not wait for this one.
    changes |= {f"{one.value}_at": look.now for one in Channel if one is channel or one not in ready}
    return Plan(look, channel, min(later, default=None), changes)


def _look_again() -> timedelta:
    return timedelta(seconds=max(1, min(LOOK_AGAIN_SECONDS, settings.NOTIFY_PUSH_AFTER)))


def _due(look: Look, channel: Channel) -> datetime:
    due = look.oldest[channel] + timedelta(seconds=getattr(settings, DELAYS[channel]))
    told = look.told[channel]
    if told.read_seq == look.read_seq and told.at is not None:
        due = max(due, told.at + timedelta(seconds=settings.NOTIFY_AGAIN_AFTER))
    return after_quiet_hours(max(due, look.now)) if look.side is Side.STUDENT else due


def _passed(look: Look) -> dict[str, Any]:
    """Return the changes that pass over what cannot be told: switching a channel on later does not tell of it."""
    unreached = [channel for channel in look.oldest if not (look.is_open and channel in look.reaches)]
    return {f"{channel.value}_seq": look.last_seq for channel in unreached}


def due(side: Side, limit: int) -> list[int]:
    """Return the ids of the conversations to look at now for this side, the longest due first."""
    column = f"{side}_notify_at"
    rows = Conversation.objects.filter(**{f"{column}__lte": Now()}).order_by(column)
    return list(rows.values_list("pk", flat=True)[:limit])


def look_at(ids: Collection[int], side: Side, since: datetime) -> list[Look]:
    """Return a look at this side of each conversation that exists; one query. `since`: notices are on since then."""
    other = Side.TEACHER if side is Side.STUDENT else Side.STUDENT
    rows = (
        Conversation.objects.filter(pk__in=ids)
        .annotate(
            notice=FilteredRelation("notices", condition=Q(notices__side=side)),
            now=Now(),
            has_device=Exists(
                PushSubscription.objects.filter(user=OuterRef(f"{side}__user"), session__expire_date__gt=Now())
            ),
            **{f"oldest_{channel.value}": _oldest(channel, other, since) for channel in Channel},
        )
        .values(
            *("pk", "now", "last_seq", "has_device", "oldest_push", "oldest_email"),
            *(f"notice__{field.name}" for field in Notice._meta.concrete_fields if not field.is_relation),
            answerable=Q(
                student__role=RoleChoices.STUDENT,
                teacher__role__in=MENTOR_ROLES,
                student__assigned_mentor=F("teacher"),
                **{f"{side}__user__is_active": True},
            ),
            notify_at=F(f"{side}_notify_at"),
            read_seq=F(f"{side}_read_seq"),
            user=F(f"{side}__user"),
            email=F(f"{side}__user__email"),
            language=F(f"{side}__language"),
            wants_push=F(f"{side}__notify_push"),
            wants_email=F(f"{side}__notify_email"),
            other_user=F(f"{other}__user"),
            other_name=F(f"{other}__full_name"),
            other_username=F(f"{other}__user__username"),
        )
    )
    return [_look(row, side) for row in rows]


def still_to_tell(side: str) -> Q:
    """Return which messages a notice may still be due of: in a query on those of the conversations of an outer one."""
    notice = Notice.objects.filter(conversation=OuterRef("conversation"), side=side)
    told = Coalesce(Subquery(notice.values(seq=Least("push_seq", "email_seq"))), 0)
    return Q(seq__gt=told, timestamp__gte=started_at())


def _oldest(channel: Channel, sender: Side, since: datetime) -> Subquery:
    unread = Message.objects.filter(
        conversation=OuterRef("pk"),
        sender=OuterRef(f"{sender}__user"),
        is_read=False,
        is_erased=False,
        seq__gt=Coalesce(OuterRef(f"notice__{channel.value}_seq"), 0),
        timestamp__gte=since,
    )
    return Subquery(unread.order_by("seq").values("timestamp")[:1])


def _look(row: Mapping[str, Any], side: Side) -> Look:
    reaches = {
        Channel.PUSH: bool(settings.VAPID_PRIVATE_KEY) and row["wants_push"] and row["has_device"],
        Channel.EMAIL: bool(settings.EMAIL_URL) and row["wants_email"] and bool(row["email"]),
    }
    return Look(
        conversation_id=row["pk"],
        side=side,
        now=row["now"],
        notify_at=row["notify_at"],
        last_seq=row["last_seq"],
        read_seq=row["read_seq"],
        user_id=row["user"],
        email=row["email"],
        language=row["language"],
        other_name=row["other_name"] or row["other_username"],
        other_user_id=row["other_user"],
        is_open=row["answerable"],
        reaches=[channel for channel, reached in reaches.items() if reached],
        told={channel: _told(row, channel) for channel in Channel},
        push_owed=row["notice__push_owed"],
        oldest={one: row[f"oldest_{one.value}"] for one in Channel if row[f"oldest_{one.value}"] is not None},
    )


def _told(row: Mapping[str, Any], channel: Channel) -> Told:
    seq, read_seq, at = (row[f"notice__{channel.value}_{name}"] for name in ("seq", "read_seq", "at"))
    return Told(seq or 0, read_seq, at)
