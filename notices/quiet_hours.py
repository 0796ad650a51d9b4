"""The hours of the night in which students are not disturbed, by the clock of the school."""

from datetime import UTC, datetime, timedelta

from django.conf import settings


def after_quiet_hours(moment: datetime) -> datetime:
    """Return this moment, or the end of the quiet hours that it falls into."""
    if settings.NOTIFY_QUIET_HOURS is None:
        return moment
    begin, end = settings.NOTIFY_QUIET_HOURS
    local = moment.astimezone(settings.SCHOOL_TIME_ZONE)
    clock = local.time()
    is_night = begin <= clock < end if begin < end else clock >= begin or clock < end
    if not is_night:
        return moment
    day = local.date() if clock < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, settings.SCHOOL_TIME_ZONE).astimezone(UTC)
