"""A student gets another mentor again and again, while all write over two processes: nothing is lost or slips in."""

import asyncio
import itertools
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
import pytest

from tests.e2e.cluster import Person
from tests.e2e.fault_cluster import FaultCluster
from tests.e2e.load import rows, seeded, tell
from tests.e2e.rest import Rest
from tests.e2e.server import ROOT

SETTINGS = {"CHAT_RATE_LIMIT": "0"}
WRITERS = 2  # of each person, at each process
ROUNDS = 20
PROOF_ROUNDS = 500
PAUSE_SECONDS = 0.03  # between two changes, at the most
HUNG_SECONDS = 90
PROOF_HUNG_SECONDS = 900

# In a process that is no server. Each line of its input is a mentor's name. Each line of its output is the id of the
# old conversation, the number of its last message when the change was about to be committed, and the id of the new one.
CHANGER = """
import sys
import django
django.setup()
from django.db import transaction
from accounts.models import User, UserProfile
from chat import services
from chat.models import Conversation
from chat.runtime.database import until_unlocked

student, by = UserProfile.objects.get(user=sys.argv[1]), User.objects.get(pk=sys.argv[1])

@transaction.atomic
def change(mentor):
    former = UserProfile.objects.get(pk=student.pk).assigned_mentor
    assert services.reassign_mentor(student, mentor, by=by) is not None
    old = Conversation.objects.get(student=student, teacher=former)
    return old.pk, old.last_seq, Conversation.objects.get(student=student, teacher=mentor).pk

for line in sys.stdin:
    print(*until_unlocked(change, UserProfile.objects.get(user__username=line.strip())), flush=True)
"""


class Changer:
    """The process that changes the mentor."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    async def change(self, mentor: Person) -> tuple[int, int, int]:
        """Give the student this mentor; return a line of the output."""
        self._input.write(f"{mentor.username}\n".encode())
        old, last_seq, new = map(int, (await self._output.readline()).split())
        return old, last_seq, new


@asynccontextmanager
async def running_changer(fault_cluster: FaultCluster, student: Person) -> AsyncIterator[Changer]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHANGER, str(student.user_id)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=fault_cluster.cluster.environment | {"DJANGO_SETTINGS_MODULE": "qader.settings"},
        cwd=ROOT,
    )
    try:
        yield Changer(process)
    finally:
        process.kill()
        await process.wait()


class Writers:
    """Clients that post one message after the other, until they are told to stop; what each was answered."""

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}  # by client_id
        self._stop = asyncio.Event()
        self._names = itertools.count()

    async def write(self, rest: Rest, path: str) -> None:
        while not self._stop.is_set():
            client_id = f"{rest.person.username}/{next(self._names)}"
            answer = await rest.ask("POST", path, {"content": client_id, "client_id": client_id})
            self.answers[client_id] = answer.status_code
            if answer.status_code == 403:
                assert answer.json()["code"] == "conversation_closed"
                await asyncio.sleep(PAUSE_SECONDS / 3)

    def stop(self) -> None:
        self._stop.set()


async def change_under_load(fault_cluster: FaultCluster, rng: random.Random, rounds: int) -> None:
    """Change the mentor so often, while student and both mentors write; check what was stored, and where."""
    pair, other = fault_cluster.cluster.make_pairs(2)
    writers, closed_at = Writers(), dict[int, int]()

    async with AsyncExitStack() as stack:
        changer = await stack.enter_async_context(running_changer(fault_cluster, pair.student))
        first, _, second = await changer.change(other.teacher)
        await changer.change(pair.teacher)
        paths = {
            pair.student: "chat/my-conversation/messages/",
            pair.teacher: f"chat/teacher/conversations/{first}/messages/",
            other.teacher: f"chat/teacher/conversations/{second}/messages/",
        }
        async with asyncio.TaskGroup() as tasks:
            for server, (person, path), _ in itertools.product(fault_cluster.web, paths.items(), range(WRITERS)):
                rest = await stack.enter_async_context(Rest(person, server))
                tasks.create_task(writers.write(rest, path))
            for number in range(rounds):
                await asyncio.sleep(rng.uniform(0, PAUSE_SECONDS))  # while they write
                mentor = (other.teacher, pair.teacher)[number % 2]
                reopened = (second, first)[number % 2]
                if reopened in closed_at:
                    assert last_seq(fault_cluster, reopened) == closed_at[reopened], "a message slipped in"
                old, closed_at[old], new = await changer.change(mentor)
                assert {old, new} == {first, second}
            writers.stop()
    stored = Counter(row["client_id"] for pk in (first, second) for row in rows(fault_cluster.cluster, pk))
    for client_id, status in writers.answers.items():
        assert stored[client_id] == {201: 1, 403: 0}[status], (client_id, status)
    assert sum(stored.values()) == len(stored)
    counts = Counter(writers.answers.values())
    assert counts[201] > rounds
    assert counts[403] > rounds
    for pk in (first, second):
        assert [row["seq"] for row in rows(fault_cluster.cluster, pk)] == list(
            range(1, last_seq(fault_cluster, pk) + 1)
        )
    tell(f"{rounds} changes, {counts[201]} messages stored, {counts[403]} refused")


def last_seq(fault_cluster: FaultCluster, conversation_id: int) -> int:
    with psycopg.connect(fault_cluster.cluster.database_url) as connection:
        query = "SELECT last_seq FROM chat_conversation WHERE id = %s"
        [(seq,)] = connection.execute(query, [conversation_id]).fetchall()
    return int(seq)


@pytest.mark.slow
async def test_no_message_is_lost_or_slips_in_while_the_mentor_changes(fault_cluster: FaultCluster) -> None:
    async with asyncio.timeout(HUNG_SECONDS):
        await change_under_load(fault_cluster, seeded(), ROUNDS)


@pytest.mark.proof
@pytest.mark.timeout(PROOF_HUNG_SECONDS)
async def test_no_message_is_lost_or_slips_in_over_many_changes(fault_cluster: FaultCluster) -> None:
    async with asyncio.timeout(PROOF_HUNG_SECONDS):
        await change_under_load(fault_cluster, seeded(), PROOF_ROUNDS)
