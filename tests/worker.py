"""Loaded first in each pytest process (`PYTEST_PLUGINS`): gives each worker of pytest-xdist a Redis of its own.

Workers share neither databases, which pytest-django numbers, nor the channels of a Redis, which have no number.
"""

import os

_worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
if _urls := os.environ.get("TEST_REDIS_URLS"):
    os.environ["REDIS_URL"] = _urls.split(",")[int(_worker.removeprefix("gw"))]
