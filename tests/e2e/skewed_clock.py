"""`qader.serve`, with its arguments, on a host whose clock is CLOCK_AHEAD_SECONDS ahead."""

import os
import runpy
from datetime import UTC, datetime, timedelta

import time_machine

if __name__ == "__main__":
    ahead = timedelta(seconds=float(os.environ["CLOCK_AHEAD_SECONDS"]))
    with time_machine.travel(datetime.now(UTC) + ahead, tick=True):
        runpy.run_module("qader.serve", run_name="__main__")
