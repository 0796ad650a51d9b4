"""What waits for its commit while the database does not answer."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from chat import writer
from chat.batch import Draft
from chat.database import WRITE_THREADS, write_threads
from chat.errors import UnavailableError
from chat.writer import BATCH, MAX_STUCK, Writer


@pytest.fixture
def _stuck_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All of the writer's threads are taken."""
    monkeypatch.setattr(writer, "DRAFT_SECONDS", 0.3)
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0.01)
    go_on = threading.Event()
    taken = [write_threads().submit(go_on.wait, 10) for _ in range(WRITE_THREADS)]
    yield
    go_on.set()
    for call in taken:
        call.result()


@pytest.mark.usefixtures("_stuck_database", "transactional_db")
async def test_what_was_given_up_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = Writer()
    under_way = BATCH * (1 + MAX_STUCK)
    results = [stuck.write(Draft(1, 1, str(number), None)) for number in range(2 * under_way)]
    told = await asyncio.gather(*results, return_exceptions=True)
    assert [type(error) for error in told] == [UnavailableError] * len(results)
    last = stuck.write(Draft(1, 1, "last", None))
    gc.collect()
    assert sum(type(kept) is Draft for kept in gc.get_objects()) <= under_way + 1
    with pytest.raises(UnavailableError):
        await last
