"""How long mentors took to answer, without the night, in which nobody needs to."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils import timezone

from chat.models import Answer

PERIOD = timedelta(days=30)  # of the answers that count
MANY = 0.9  # the share of the answers that took at most `nine_in_ten`
DAY_SECONDS = 24 * 60 * 60


@dataclass(frozen=True, slots=True)
class AnswerTimes:
    """How many first answers there were, and how long half of them, and nine in ten, took at most."""

    count: int
    median: timedelta
    nine_in_ten: timedelta


@dataclass(frozen=True, slots=True)
class SchoolClock:
    """Measures time by the clock on the wall, without the quiet hours of each day.

    An hour that is put in or left out in summer time counts as the wall shows it: usually it is at night anyway.
    """

    zone: ZoneInfo
    quiet: tuple[time, time] | None

    def between(self, begin: datetime, end: datetime) -> timedelta:
        """Return how long it was from `begin` to `end`."""
        if self.quiet is None:
            return end - begin
        return timedelta(seconds=max(0.0, self._counted(end) - self._counted(begin)))

    def _counted(self, moment: datetime) -> float:
        """Return the seconds that count from the first of all days to this moment."""
        here = moment.astimezone(self.zone)
        a_day, today = DAY_SECONDS - self._quiet_seconds(DAY_SECONDS), _seconds(here.time())
        return here.toordinal() * a_day + today - self._quiet_seconds(today)

    def _quiet_seconds(self, passed: float) -> float:
        """Return how many of the first seconds of a day are quiet."""
        assert self.quiet is not None  # noqa: S101 - checked by the caller
        begin, end = map(_seconds, self.quiet)
        if begin < end:
            return min(max(0.0, passed - begin), end - begin)
        return min(passed, end) + max(0.0, passed - begin)


def _seconds(clock: time) -> float:
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1_000_000


def answer_times(mentor_ids: Collection[int]) -> dict[int, AnswerTimes]:
    """Return the answer times of those of these mentors, by profile id, who have answered in `PERIOD`. One query."""
    clock = SchoolClock(settings.SCHOOL_TIME_ZONE, settings.NOTIFY_QUIET_HOURS)
    rows = Answer.objects.filter(mentor__in=mentor_ids, answered_at__gte=timezone.now() - PERIOD)
    found: dict[int, list[timedelta]] = {}
    for mentor_id, begin, end in rows.values_list("mentor_id", "waited_from", "answered_at"):
        found.setdefault(mentor_id, []).append(clock.between(begin, end))
    return {mentor_id: _summary(sorted(times)) for mentor_id, times in found.items()}


def _summary(times: list[timedelta]) -> AnswerTimes:
    middle = median(time.total_seconds() for time in times)
    return AnswerTimes(len(times), timedelta(seconds=middle), times[math.ceil(MANY * len(times)) - 1])
