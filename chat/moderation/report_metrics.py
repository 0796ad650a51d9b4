"""Metrics of the reports that wait: a scrape shows what the database said at the one before, and never waits for it."""

import time
from collections.abc import Iterator
from concurrent.futures import Future
from datetime import datetime

from django.db import Error
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from chat.moderation.reports import unfinished_reports
from chat.runtime.database import submit_read


class ReportsCollector(Collector):
    """The number of reports that are not closed, and the age of the oldest."""

    def __init__(self) -> None:
        self._known: tuple[int, datetime | None] | None = None
        self._asked: Future[None] | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return what is known, and ask the database for the next time; nothing until it has answered."""
        known = self._known
        if self._asked is None or self._asked.done():
            self._asked = submit_read(self.ask)
        if known is None:
            return
        count, oldest = known
        age = max(0.0, time.time() - oldest.timestamp()) if oldest else 0.0
        yield GaugeMetricFamily("qader_reports_unfinished", "Reports of messages that are not closed.", count)
        yield GaugeMetricFamily(
            "qader_reports_oldest_seconds", "Age of the oldest report that is not closed; 0 without one.", age
        )

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing; otherwise registering would call `collect`."""
        return []

    def ask(self) -> None:
        """Ask the database. If it does not answer, the last figures stay."""
        try:
            self._known = unfinished_reports()
        except Error:
            return


reports_collector = ReportsCollector()


def register() -> None:
    """Add the metrics to `/metrics`; called once, when the app is ready."""
    REGISTRY.register(reports_collector)
