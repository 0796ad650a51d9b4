"""Students are not disturbed in the quiet hours of the school; their notices come when these end."""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from notices.looks import Channel, Look, Told, plan
from notices.models import Side
from notices.quiet_hours import after_quiet_hours

NIGHT = time(21), time(7)
RIYADH = ZoneInfo("Asia/Riyadh")  # UTC+3 all year
OLDEST = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(text: str, zone: Any = RIYADH) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("hours", "given", "expected"),
    [
        (NIGHT, "2026-03-01T20:59:59", "2026-03-01T20:59:59"),
        (NIGHT, "2026-03-01T21:00:00", "2026-03-02T07:00:00"),
        (NIGHT, "2026-03-01T23:30:00", "2026-03-02T07:00:00"),
        (NIGHT, "2026-03-02T00:00:00", "2026-03-02T07:00:00"),
        (NIGHT, "2026-03-02T06:59:59", "2026-03-02T07:00:00"),
        (NIGHT, "2026-03-02T07:00:00", "2026-03-02T07:00:00"),
        (NIGHT, "2026-12-31T22:00:00", "2027-01-01T07:00:00"),
        ((time(12), time(14, 30)), "2026-03-01T11:59:59", "2026-03-01T11:59:59"),
        ((time(12), time(14, 30)), "2026-03-01T12:00:00", "2026-03-01T14:30:00"),
        ((time(12), time(14, 30)), "2026-03-01T14:30:00", "2026-03-01T14:30:00"),
        (None, "2026-03-01T23:00:00", "2026-03-01T23:00:00"),
    ],
)
def test_a_moment_in_the_quiet_hours_becomes_their_end(settings: Any, hours: Any, given: str, expected: str) -> None:
    settings.NOTIFY_QUIET_HOURS, settings.SCHOOL_TIME_ZONE = hours, RIYADH
    assert after_quiet_hours(at(given)) == at(expected)


@pytest.mark.parametrize(("given", "hours"), [("2026-03-28T22:00:00", 8), ("2026-10-24T22:00:00", 10)])
def test_the_clock_of_the_school_may_be_changed_in_the_night(settings: Any, given: str, hours: int) -> None:
    settings.NOTIFY_QUIET_HOURS, settings.SCHOOL_TIME_ZONE = NIGHT, ZoneInfo("Europe/Berlin")
    moment = at(given, settings.SCHOOL_TIME_ZONE)
    assert after_quiet_hours(moment) - moment == timedelta(hours=hours)


def look(side: Side, now: datetime, **told: Any) -> Look:
    nothing = Told(0, None, None)
    return Look(
        conversation_id=1,
        side=side,
        now=now,
        notify_at=now,
        last_seq=3,
        read_seq=0,
        user_id=5,
        email="student@example.com",
        language=None,
        other_name="Teacher",
        other_user_id=7,
        is_open=True,
        reaches=list(Channel),
        told={channel: told.get(channel.value, nothing) for channel in Channel},
        push_owed=None,
        oldest=dict.fromkeys(Channel, OLDEST),
    )


@pytest.mark.parametrize("side", Side)
def test_a_students_notice_waits_for_the_morning_and_a_mentors_does_not(settings: Any, side: Side) -> None:
    settings.NOTIFY_QUIET_HOURS, settings.SCHOOL_TIME_ZONE = NIGHT, RIYADH
    evening, morning = at("2026-03-01T22:00:00"), at("2026-03-02T07:00:00")
    planned = plan(look(side, evening), is_reading=False)
    if side is Side.TEACHER:
        assert planned.channel is Channel.PUSH
        return
    assert (planned.channel, planned.next_at, planned.changes) == (None, morning, {})
    assert plan(look(side, morning), is_reading=False).channel is Channel.PUSH


def test_what_is_due_again_in_the_night_waits_for_the_morning(settings: Any) -> None:
    settings.NOTIFY_QUIET_HOURS, settings.SCHOOL_TIME_ZONE = NIGHT, RIYADH
    settings.NOTIFY_AGAIN_AFTER = 6 * 3600
    now = at("2026-03-01T18:00:00")
    told = Told(1, 0, at("2026-03-01T17:00:00"))
    planned = plan(look(Side.STUDENT, now, push=told, email=told), is_reading=False)
    assert (planned.channel, planned.next_at) == (None, at("2026-03-02T07:00:00"))


@pytest.mark.parametrize(("is_reading", "channel", "seconds"), [(True, None, 30), (False, Channel.PUSH, None)])
def test_a_reader_is_looked_at_again_soon(settings: Any, is_reading: bool, channel: Any, seconds: int | None) -> None:
    settings.NOTIFY_QUIET_HOURS = None
    now = OLDEST + timedelta(hours=1)
    planned = plan(look(Side.STUDENT, now), is_reading=is_reading)
    assert planned.channel is channel
    if seconds is not None:
        assert planned.next_at == now + timedelta(seconds=seconds)
