"""Clusters for the end-to-end tests; none of them uses the test database of pytest-django."""

import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests import servers
from tests.e2e import browser as browsers
from tests.e2e.cluster import Cluster, Databases, PageData, Pair, Person
from tests.e2e.fault_cluster import FaultCluster, running_fault_cluster
from tests.e2e.server import WebServer
from tests.e2e.windows import Windows, windows


@pytest.fixture(scope="session", autouse=True)
def _interrupts_are_heard() -> None:
    """A shell starts what runs in its background with SIGINT ignored, and so would be every server started here."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """New databases on the server that the tests run on; on SQLite where they run on none."""
    made = Databases(os.environ.get("DATABASE_URL", ""), tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture
def cluster(databases: Databases) -> Iterator[Cluster]:
    """A database and a Redis that no other test uses; no server is started yet."""
    with servers.redis() as redis:
        made = Cluster(databases.create(), redis)
        yield made
        made.close()


@pytest.fixture
def lone_cluster(databases: Databases) -> Iterator[Cluster]:
    """A database that no other test uses, and no Redis: for one server process."""
    made = Cluster(databases.create(), None)
    yield made
    made.close()


@pytest.fixture
def fragile_cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Cluster, servers.PostgreSQL, servers.Redis]]:
    """`cluster, postgresql, redis`, all of them this test's own, to be killed, stopped and cut."""
    with servers.postgresql() as postgresql, servers.redis() as redis:
        databases = Databases(postgresql.url, tmp_path_factory.mktemp("unused"))
        made = Cluster(databases.create(), redis)
        yield made, postgresql, redis
        made.close()


Start = Callable[..., WebServer]


@pytest.fixture(scope="module")
def start() -> Iterator[Start]:
    """`start(kind, **limits)`: an echo server of this kind, shared by the tests that ask for the same."""
    with ExitStack() as stack:
        running: dict[tuple[str, str], WebServer] = {}

        def started(kind: str, **limits: int) -> WebServer:
            key = kind, json.dumps(limits)
            if key not in running or running[key].process.poll() is not None:
                running[key] = WebServer(command=["tests.e2e.echo", *key]).start()
                stack.callback(running[key].close)
            return running[key]

        yield started


@pytest.fixture(params=["daphne", "uvicorn"])
def ours(request: pytest.FixtureRequest) -> str:
    """Both servers, one after the other."""
    return str(request.param)


@pytest.fixture(scope="module")
def fault_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultCluster]:
    """One for all tests of a file, with the file's SETTINGS: its processes must survive whatever they go through."""
    with running_fault_cluster(request.module.SETTINGS, tmp_path_factory.mktemp("unused")) as made:
        yield made


@pytest.fixture(scope="session")
def chromium() -> browsers.Chromium:
    """A browser; without one the test is left out, but not in CI."""
    found = browsers.find()
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(browsers.NO_BROWSER)
    if found is None:
        pytest.skip(browsers.NO_BROWSER)
    return found


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: browsers.Chromium) -> AsyncIterator[Browser]:
    """That browser, running, for tests that say `pytestmark = pytest.mark.asyncio(loop_scope="session")`."""
    async with browsers.launched(chromium) as running:
        yield running


@pytest.fixture(scope="session")
def shared_cluster(databases: Databases) -> Iterator[Cluster]:
    """A database and one running server, `shared_cluster.servers[0]`, that all tests of the page share."""
    made = Cluster(databases.create(), None)
    made.start(CHAT_HEAL_SECONDS="2", CHAT_MAX_SOCKETS_PER_USER="50")
    yield made
    made.close()


@pytest.fixture(scope="session")
def _pairs(shared_cluster: Cluster) -> Iterator[Pair]:
    return iter(shared_cluster.make_pairs(60))


@pytest.fixture
def pair(_pairs: Iterator[Pair]) -> Pair:
    """A student and a mentor whom no other test has seen."""
    return next(_pairs)


@pytest.fixture(scope="session")
def page_data(shared_cluster: Cluster) -> PageData:
    """Mentors with ten students, a long history, a closed conversation, and people without one."""
    made = json.loads(shared_cluster.run("-m", "tests.e2e.page_data"))
    people = {name: Person(**person) for name, person in made.pop("people").items()}
    return PageData(people=people, **made)


@pytest_asyncio.fixture(loop_scope="session")
async def open_windows(browser: Browser, shared_cluster: Cluster) -> AsyncIterator[Windows]:
    """Browser windows on that server; none of them may have a fault in the end."""
    async with windows(browser, shared_cluster.servers[0]) as made:
        yield made


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that had no browser."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = [report.nodeid for report in skipped if browsers.NO_BROWSER in str(report.longrepr)]
    if left_out:
        terminalreporter.section(browsers.NO_BROWSER)
        for name in left_out:
            terminalreporter.write_line(f"left out: {name}")
