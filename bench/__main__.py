"""`python -m bench [section ...]`, which is what `make bench` runs; QUICK=1, ROUNDS= and PEERS=1 in the environment."""

import argparse
import asyncio
import gc
import importlib
import os
import resource
import signal
import sys
import time

import uvloop

from bench.environment import QUICK, Environment, Sizes, say
from bench.process import ServerFailedError
from tests.e2e.cluster import Cluster
from tests.servers import postgresql, redis

SECTIONS = ("throughput", "processes", "idle", "storm", "growth")
LIMIT_SECONDS = 3600
OPEN_FILES = 16_384


def main() -> int:
    """Run the sections that were named, or all; returns 1 where anything went wrong."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    sections = parser.parse_args().sections or SECTIONS
    if unknown := set(sections) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    quick = _is_set("QUICK")
    rounds = int(os.environ.get("ROUNDS") or (1 if quick else 3))
    begin = time.monotonic()
    with postgresql(fsync="on") as database, redis() as layer:
        cluster = Cluster(database.url, layer)
        cluster.run("manage.py", "migrate", "--verbosity", "0")
        env = Environment(cluster, QUICK if quick else Sizes(), rounds, _is_set("PEERS"))
        say(f"{env.machine()}.")
        say()
        for section in sections:
            _run(section, env)
    say(f"{time.monotonic() - begin:.0f} s in all; figures of a shared machine are noise, ratios less so.")
    return 1 if env.faults else 0


def _run(section: str, env: Environment) -> None:
    begin = time.monotonic()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(importlib.import_module(f"bench.{section}").run(env))
    sys.stderr.write(f"{section}: {time.monotonic() - begin:.0f} s\n")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in {"", "0"}


def _allow_many_sockets() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if most == resource.RLIM_INFINITY else min(OPEN_FILES, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))  # the servers have it from us


def _end(number: int, _: object) -> None:
    """Leave by way of every `finally`."""
    sys.exit(f"bench: {'ran too long' if number == signal.SIGALRM else 'stopped'}")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(LIMIT_SECONDS)
    gc.disable()  # a pause here would be counted as theirs
    _allow_many_sockets()
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        os.environ.pop(name, None)  # of the make that called us; the servers have their own
    try:
        sys.exit(main())
    except ServerFailedError as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
