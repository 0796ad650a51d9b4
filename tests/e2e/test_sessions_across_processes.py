"""The end of a session closes its sockets in every process, and no others.

`sockets` and `elsewhere` are processes of one cluster; what ends a session happens in `elsewhere` or in `manage.py`.
Their rounds come every 30 s, so what closes within seconds was told by an event; `rounds` has one every second.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from tests import servers
from tests.e2e.chat_socket import SETTLED_SECONDS, ChatSocket, connected
from tests.e2e.cluster import CSRF, Cluster, Databases, Pair, Person
from tests.e2e.seed import PASSWORD
from tests.e2e.server import WebServer, start_together
from tests.websocket_client import HandshakeRefusedError

SESSION_ENDED, NOT_ALLOWED, NOT_FOUND = 4401, 4403, 4404
ROUND_SECONDS = 1
NOISE_SECONDS = 2.0  # what a round may be late on a busy machine


@dataclass
class World:
    """Three server processes, and an administrator."""

    cluster: Cluster
    sockets: WebServer
    elsewhere: WebServer
    rounds: WebServer
    admin: Person

    def run(self, code: str) -> str:
        """Run code in `manage.py shell`, where all models are imported: another process, without an event loop."""
        return self.cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)

    def pair(self) -> Pair:
        return self.cluster.make_pairs()[0]


@pytest.fixture(scope="module")
def world(databases: Databases) -> Iterator[World]:
    with servers.redis() as redis:
        cluster = Cluster(databases.create(), redis)
        kinds = [cluster.server("daphne"), cluster.server("uvicorn")]
        kinds.append(cluster.server("uvicorn", CHAT_HEAL_SECONDS=str(ROUND_SECONDS)))
        sockets, elsewhere, rounds = start_together(*kinds)
        yield World(cluster, sockets, elsewhere, rounds, make_admin(cluster))
        cluster.close()


def make_admin(cluster: Cluster) -> Person:
    code = "User.objects.create_superuser('chief', 'chief@example.com', 'x'); from tests.people import session_cookie"
    code += "; user = User.objects.get(username='chief'); print(user.pk, session_cookie(user))"
    user_id, key = cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code).split()
    return Person(int(user_id), "chief", key, "")


@asynccontextmanager
async def seated(*seats: tuple[Person, WebServer]) -> AsyncIterator[list[ChatSocket]]:
    """A socket for each, all of them settled."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(*seat)) for seat in seats]


async def log_in(person: Person, server: WebServer) -> Person:
    """The same person in another session."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        token = (await http.get("/api/v1/auth/csrf/")).json()["csrfToken"]
        credentials = {"username": person.username, "password": PASSWORD}
        answer = await http.post("/api/v1/auth/login/", json=credentials, headers={"X-CSRFToken": token})
        assert answer.status_code == 200, answer.text
        return replace(person, session_key=http.cookies["sessionid"])


async def post_page(person: Person, server: WebServer, path: str, **fields: Any) -> httpx.Response:
    """Submit a form of the admin's, which must lead on to another page."""
    async with person.http(server) as http:
        answer = await http.post(f"{server.url}{path}", data=fields | {"csrfmiddlewaretoken": CSRF})
        assert answer.status_code == 302, re.findall(r'class="errorlist.*', answer.text)
        return answer


async def closed(seconds: float, code: int, *sockets: ChatSocket) -> None:
    """Check that these close with that code within that time."""
    begin = time.monotonic()
    codes = await asyncio.gather(*(socket.wait_closed(seconds) for socket in sockets))
    assert codes == [code] * len(sockets), f"after {time.monotonic() - begin:.2f} s"


async def open_still(*sockets: ChatSocket) -> None:
    """Check that these have received nothing and answer."""
    for socket in sockets:
        assert await socket.receive_until_pong() == []


async def status_of(person: Person, server: WebServer) -> int | None:
    """How the handshake is answered."""
    try:
        async with person.socket(server):
            return 101
    except HandshakeRefusedError as refused:
        return refused.status


async def test_a_logout_closes_that_sessions_sockets(world: World) -> None:
    pair, other = world.cluster.make_pairs(2)
    phone = await log_in(pair.student, world.elsewhere)
    here, there = world.sockets, world.elsewhere
    seats = [(pair.student, here), (pair.student, there), (phone, here), (pair.teacher, here), (other.student, here)]
    async with seated(*seats) as (one, tab, on_phone, teacher, stranger):
        await asyncio.sleep(SETTLED_SECONDS)
        async with pair.student.http(world.elsewhere) as http:
            assert (await http.post("auth/logout/")).status_code == 204
        await closed(1, SESSION_ENDED, one, tab)
        await open_still(on_phone, teacher, stranger)
        assert await status_of(pair.student, here) == 403


async def test_a_password_changed_by_a_command_closes_all_sessions(world: World) -> None:
    pair = world.pair()
    phone = await log_in(pair.student, world.elsewhere)
    here, there = world.sockets, world.elsewhere
    async with seated((pair.student, here), (phone, there), (pair.teacher, here)) as (one, on_phone, teacher):
        await asyncio.sleep(SETTLED_SECONDS)
        code = f"user = User.objects.get(pk={pair.student.user_id}); user.set_password('another one'); user.save()"
        await asyncio.to_thread(world.run, code)
        await closed(2, SESSION_ENDED, one, on_phone)
        await open_still(teacher)


async def test_a_password_changed_in_the_admin_closes_all_sessions_but_the_administrators(world: World) -> None:
    pair = world.pair()
    here, there = world.sockets, world.elsewhere
    chief = await asyncio.to_thread(teaching_chief, world, pair)
    seats = [(pair.student, here), (pair.student, there), (chief, here), (chief, there)]
    async with seated(*seats) as (one, tab, teacher, teachers_tab):
        await asyncio.sleep(SETTLED_SECONDS)
        path = f"/admin/accounts/user/{pair.student.user_id}/password/"
        changed = {"password1": "quite another", "password2": "quite another", "usable_password": "true"}
        await post_page(chief, there, path, **changed, **{"set-password": "1"})
        await closed(2, SESSION_ENDED, one, tab)
        await open_still(teacher, teachers_tab)


async def test_the_session_that_changed_its_own_password_stays(world: World) -> None:
    pair = world.pair()
    here, there = world.sockets, world.elsewhere
    chief = await asyncio.to_thread(teaching_chief, world, pair)
    phone = await log_in(chief, there)
    seats = [(chief, here), (chief, there), (chief, world.rounds), (phone, here), (pair.student, here)]
    async with seated(*seats) as (one, tab, rounds, on_phone, student):
        await asyncio.sleep(SETTLED_SECONDS)
        changed = {"old_password": PASSWORD, "new_password1": "quite another", "new_password2": "quite another"}
        answer = await post_page(chief, there, "/admin/password_change/", **changed)
        await closed(2, SESSION_ENDED, on_phone)
        await asyncio.sleep(ROUND_SECONDS)
        await open_still(one, tab, rounds, student)
        renamed = replace(chief, session_key=answer.cookies["sessionid"])
        assert await status_of(chief, here) == 403  # the old name is worth nothing
        async with renamed.http(there) as http:
            assert (await http.post("auth/logout/")).status_code == 204
        await closed(1, SESSION_ENDED, one, tab, rounds)


def teaching_chief(world: World, pair: Pair) -> Person:
    """The pair's teacher, made an administrator."""
    world.run(f"User.objects.filter(pk={pair.teacher.user_id}).update(is_staff=True, is_superuser=True)")
    return pair.teacher


async def test_deactivation_in_the_admin_closes_that_users_sockets(world: World) -> None:
    pair = world.pair()
    phone = await log_in(pair.teacher, world.elsewhere)
    here, there = world.sockets, world.elsewhere
    async with seated((pair.teacher, here), (phone, there), (pair.student, here)) as (one, on_phone, student):
        await asyncio.sleep(SETTLED_SECONDS)
        chosen = {"action": "deactivate", "_selected_action": pair.teacher.user_id}
        await post_page(world.admin, there, "/admin/accounts/user/", **chosen)
        await closed(1, SESSION_ENDED, one, on_phone)
        await open_still(student)


async def test_deletion_in_the_admin_closes_the_sockets_of_both_sides(world: World) -> None:
    pair, other = world.cluster.make_pairs(2)
    here, there = world.sockets, world.elsewhere
    async with seated((pair.student, here), (pair.teacher, here), (other.teacher, here)) as (
        student,
        teacher,
        stranger,
    ):
        await asyncio.sleep(SETTLED_SECONDS)
        await post_page(world.admin, there, f"/admin/accounts/user/{pair.student.user_id}/delete/", post="yes")
        await asyncio.gather(closed(2, SESSION_ENDED, student), closed(2, NOT_FOUND, teacher))
        await open_still(stranger)


async def profile_form(world: World, person: Person, **changes: Any) -> dict[str, Any]:
    """What the page of this person's profile sends, but for the changes."""
    code = f"p = UserProfile.objects.get(user={person.user_id}); print(p.pk, p.role, p.assigned_mentor_id or '')"
    pk, role, *mentor = (await asyncio.to_thread(world.run, code)).split()
    form = {"user": person.user_id, "full_name": "", "role": role, "assigned_mentor": mentor[0] if mentor else ""}
    return {"path": f"/admin/accounts/userprofile/{pk}/change/", **form, **changes}


@pytest.mark.parametrize("who", ["student", "teacher"])
async def test_a_changed_role_closes_the_conversation_for_both_sides(world: World, who: str) -> None:
    pair, other = world.cluster.make_pairs(2)
    here, there = world.sockets, world.elsewhere
    form = await profile_form(world, getattr(pair, who), role="ADMIN", assigned_mentor="")
    async with seated((pair.student, here), (pair.teacher, there), (other.student, here)) as (
        student,
        teacher,
        stranger,
    ):
        await asyncio.sleep(SETTLED_SECONDS)
        await post_page(world.admin, there, **form)
        await closed(2, NOT_ALLOWED, student, teacher)
        await open_still(stranger)


async def test_a_changed_mentor_closes_the_conversation_for_both_sides(world: World) -> None:
    pair, other = world.cluster.make_pairs(2)
    here, there = world.sockets, world.elsewhere
    new_mentor = (await profile_form(world, other.teacher))["path"].split("/")[-3]
    form = await profile_form(world, pair.student, assigned_mentor=new_mentor)
    seats = [(pair.student, here), (pair.teacher, here), (pair.teacher, there), (other.student, here)]
    async with seated(*seats) as (student, teacher, tab, unconcerned):
        await asyncio.sleep(SETTLED_SECONDS)
        await post_page(world.admin, there, **form)
        await closed(2, NOT_ALLOWED, student, teacher, tab)
        await open_still(unconcerned)
    async with seated((pair.teacher, here)) as (former,):  # may come back to read, not to write
        await former.send_json({"message": "but"})
        assert await former.receive_json() == {"error": "This conversation is closed.", "code": "conversation_closed"}
    async with pair.student.socket(here) as student:
        established = await student.receive_json()
        assert established["conversation_id"] not in (str(pair.conversation_id), str(other.conversation_id))
        path = f"conversations/{established['conversation_id']}/"
        async with seated((replace(other.teacher, path=path), there)) as (mentor,):
            await student.send_json({"message": "hello, new mentor"})
            assert (await mentor.receive_json())["message"]["content"] == "hello, new mentor"


UPDATES = {
    "expiry": ("Session.objects.filter(pk={student.session_key!r}).update(expire_date='2020-01-01T00:00Z')", "4401 -"),
    "deactivation": ("User.objects.filter(pk={student.user_id}).update(is_active=False)", "4401 -"),
    "password": ("User.objects.filter(pk={student.user_id}).update(password='!')", "4401 -"),
    "mentor": ("UserProfile.objects.filter(user={student.user_id}).update(assigned_mentor=None)", "4403 4403"),
    "role of the student": ("UserProfile.objects.filter(user={student.user_id}).update(role='TEACHER')", "4403 4403"),
    "role of the teacher": ("UserProfile.objects.filter(user={teacher.user_id}).update(role='STUDENT')", "4403 4403"),
}


async def closes_after_updates(world: World, server: WebServer, seconds: float) -> None:
    """Check that a `QuerySet.update` of each kind closes what it concerns by the next round."""
    pairs = dict(zip([*UPDATES, "nothing"], world.cluster.make_pairs(len(UPDATES) + 1), strict=True))
    updates = [code.format(**vars(pairs[name])) for name, (code, _) in UPDATES.items()]
    seats = [(person, server) for pair in pairs.values() for person in (pair.student, pair.teacher)]
    async with seated(*seats) as sockets:
        await asyncio.sleep(SETTLED_SECONDS)
        await asyncio.to_thread(world.run, "\n".join(updates))
        expected = [*" ".join(codes for _, codes in UPDATES.values()).split(), "-", "-"]
        doomed = [(socket, int(code)) for socket, code in zip(sockets, expected, strict=True) if code != "-"]
        await asyncio.gather(*(closed(seconds, code, socket) for socket, code in doomed))
        await open_still(*(socket for socket, code in zip(sockets, expected, strict=True) if code == "-"))


async def test_an_update_without_a_signal_is_found_in_the_next_round(world: World) -> None:
    await closes_after_updates(world, world.rounds, ROUND_SECONDS + NOISE_SECONDS)


async def test_an_update_is_found_within_30_seconds_by_default(world: World) -> None:
    await closes_after_updates(world, world.sockets, 30 + NOISE_SECONDS)
