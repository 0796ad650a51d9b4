"""Every answer has one `Date`, under both servers: clients correct their clocks by it."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.e2e.cluster import Cluster

PATHS = ("/api/v1/auth/me/", "/api/v1/auth/csrf/", "/nowhere/", "/", "/healthz")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
def test_every_answer_has_one_date(lone_cluster: Cluster, kind: str) -> None:
    server = lone_cluster.start(kind)
    for path in PATHS:
        [date] = httpx.get(f"{server.url}{path}", trust_env=False).headers.get_list("Date")
        age = datetime.now(UTC) - parsedate_to_datetime(date)
        assert abs(age.total_seconds()) < 5, path
