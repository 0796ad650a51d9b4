"""Without the channel layer, the next round closes the sockets of ended sessions."""

import asyncio
import time

import pytest

from tests.e2e.chat_socket import ChatSocket, connected
from tests.e2e.cluster import Cluster
from tests.e2e.server import start_together

ROUND_SECONDS = 2
NOISE_SECONDS = 2.0


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill", "freeze"])
async def test_sessions_ended_during_a_layer_outage_close_in_the_next_round(cluster: Cluster, how: str) -> None:
    assert cluster.redis
    settings = {"CHAT_HEAL_SECONDS": str(ROUND_SECONDS)}
    servers = [cluster.server("daphne", **settings), cluster.server("uvicorn", **settings)]
    here, there = await asyncio.to_thread(start_together, *servers)
    left, barred, moved, other = await asyncio.to_thread(cluster.make_pairs, 4)
    async with (
        connected(left.student, here) as one,
        connected(left.teacher, here) as mentor,
        connected(barred.student, here) as two,
        connected(moved.student, here) as three,
        connected(moved.teacher, there) as four,
        connected(other.student, there) as stranger,
    ):
        getattr(cluster.redis, how)()
        async with left.student.http(there) as http:
            begin = time.monotonic()
            assert (await http.post("auth/logout/")).status_code == 204
            assert time.monotonic() - begin < 5
        code = f"user = User.objects.get(pk={barred.student.user_id}); user.is_active = False; user.save()\n"
        code += f"profile = UserProfile.objects.get(user={moved.student.user_id}); profile.assigned_mentor = None"
        command = ("manage.py", "shell", "--verbosity", "0", "-c", f"{code}; profile.save()")
        await asyncio.gather(asyncio.to_thread(cluster.run, *command), closes(4401, one))
        await asyncio.gather(closes(4401, two), closes(4403, three), closes(4403, four))
        for socket in (mentor, stranger):
            assert await socket.receive_until_pong() == []


async def closes(code: int, socket: ChatSocket) -> None:
    assert await socket.wait_closed(ROUND_SECONDS + NOISE_SECONDS) == code
