"""The Next.js application of `examples/nextjs/` in a real browser, on another port than its backend."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e import nextjs_app
from tests.e2e.cluster import Cluster, Databases, Pair, Person
from tests.e2e.nextjs_tab import SECONDS, Tab, Tabs
from tests.e2e.rest import Rest
from tests.e2e.seed import PASSWORD
from tests.e2e.server import WebServer
from tests.node import environment
from tests.servers import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

HOST, BACKEND_HOST = "qader.localhost", "chat.qader.localhost"  # browsers know that these are this machine
PAGE = 50  # messages that the application fetches at once
PAIRS = 20  # more than there are tests: the first is that of others
# What React says of it where the application shows its error page: of the page, and of the boundary around it.
RENDERING_FAILED, UNFINISHED = "Error: Minified React error #441", "Minified React error #419"


@dataclass
class Site:
    """The backend, and the frontend's address as browsers know it."""

    cluster: Cluster
    backend: WebServer
    url: str
    pairs: list[Pair]


@pytest.fixture(scope="module")
def prepared() -> None:
    """The application, ready to be built."""
    nextjs_app.prepare()


@pytest.fixture(scope="module")
def refusals(prepared: None) -> list[tuple[int, str]]:
    """What `next build` says without settings, and with the first alone; asked before there is a build to spoil."""
    names = ("CHAT_BACKEND_URL", "NEXT_PUBLIC_CHAT_SOCKET_URL")
    bare = {name: value for name, value in environment().items() if name not in names}
    return [nextjs_app.tried("build", bare | given) for given in ({}, {names[0]: "http://127.0.0.1:8000"})]


@pytest.fixture(scope="module")
def site(databases: Databases, refusals: object) -> Iterator[Site]:
    """As in production, on two hosts of one domain; one for all tests of this file, because it takes a build."""
    port = free_port()
    url = f"http://{HOST}:{port}"
    cluster = Cluster(databases.create(), None)
    try:
        backend = cluster.start(
            ALLOWED_HOSTS=f"127.0.0.1,{BACKEND_HOST},{HOST}",
            CSRF_TRUSTED_ORIGINS=url,
            COOKIE_DOMAIN=HOST,
            CHAT_RATE_LIMIT="0",
            CHAT_HEAL_SECONDS="2",  # how soon it notices a lock that another process made
        )
        sockets = f"http://{BACKEND_HOST}:{backend.port}"
        env = nextjs_app.settings(backend, NEXT_PUBLIC_CHAT_SOCKET_URL=sockets)
        nextjs_app.run("build", env)
        with nextjs_app.served("start", port, env):
            yield Site(cluster, backend, url, cluster.make_pairs(PAIRS))
    finally:
        cluster.close()


@pytest.fixture
def pair(site: Site) -> Pair:
    """A student and a mentor whom no other test knows."""
    return site.pairs.pop()


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(browser: Browser) -> AsyncIterator[Tabs]:
    """Closed at the end, when the application must have said nothing in any console."""
    made = Tabs(browser)
    yield made
    said = [tab.own_lines for tab in made.opened]
    await made.close()
    assert said == [[] for _ in made.opened]


async def sign_in_both(tabs: Tabs, site: Site, pair: Pair) -> tuple[Tab, Tab]:
    """The student's and the mentor's screens, both in their conversation."""
    student, mentor = await tabs.open_tab(site.url), await tabs.open_tab(site.url)
    await student.sign_in(pair.student)
    await (await mentor.sign_in(pair.teacher)).choose(pair.student)
    return await student.is_connected(), await mentor.is_connected()


async def say(backend: WebServer, person: Person, *texts: str) -> None:
    """Send over REST, in order."""
    async with Rest(person, backend) as rest:
        for text in texts:
            (await rest.ask("POST", rest.messages_path, {"content": text})).raise_for_status()


async def history(backend: WebServer, person: Person) -> list[str]:
    async with Rest(person, backend) as rest:
        return [message["content"] for message in await rest.history()]


async def test_a_build_without_settings_names_the_missing_one(refusals: list[tuple[int, str]]) -> None:
    (first, without_backend), (second, without_sockets) = refusals
    assert "Error: CHAT_BACKEND_URL is not set" in without_backend
    assert "Error: NEXT_PUBLIC_CHAT_SOCKET_URL is not set" in without_sockets
    assert first and second


async def test_the_nextjs_application_passes_its_type_check(site: Site) -> None:
    await asyncio.to_thread(nextjs_app.run, "types")


def asking(site: Site, **cookies: str) -> httpx.AsyncClient:
    """HTTP to the frontend, by its number: only browsers know that HOST is this machine."""
    headers = {"Origin": site.url, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
    address = site.url.replace(HOST, "127.0.0.1")
    return httpx.AsyncClient(base_url=address, headers=headers, trust_env=False, timeout=SECONDS)


async def test_rest_goes_through_the_rewrites(site: Site, pair: Pair) -> None:
    async with asking(site) as http:
        for path in ("/api/v1/auth/me/", "/api/v1/auth/me"):  # Next.js redirects one by default, Django the other
            assert (await http.get(path)).status_code == 401, path
        token = (await http.get("/api/v1/auth/csrf/")).json()["csrfToken"]

    credentials = {"username": pair.student.username, "password": PASSWORD}
    proof = {"X-CSRFToken": token}
    async with asking(site, csrftoken=token) as http:
        tries = [{}, proof | {"Origin": "http://localhost"}, proof]
        answers = [await http.post("/api/v1/auth/login/", json=credentials, headers=headers) for headers in tries]
    assert [answer.status_code for answer in answers] == [403, 403, 200]
    for cookie in answers[-1].headers.get_list("set-cookie"):
        assert re.match(rf"(csrftoken|sessionid|device)=[\w.:-]+; Domain={HOST};", cookie)

    async with asking(site, sessionid=pair.student.session_key) as http:
        page = await http.get("/api/v1/chat/my-conversation/messages/?limit=1&mark_read=false")
        assert page.json() == {"count": 0, "next": None, "previous": None, "results": []}
        assert (await http.get("/api/v1/chat/my-conversation/messages/?limit=0")).status_code == 400


async def test_the_server_renders_for_the_signed_in_user(site: Site, pair: Pair) -> None:
    async with asking(site) as http:
        assert "Password" in (await http.get("/")).text
    async with asking(site, sessionid="none-that-there-is") as http:
        assert "Password" in (await http.get("/")).text
    async with asking(site, sessionid=pair.student.session_key) as http:
        page = (await http.get("/")).text
        assert f">{pair.student.username}</strong>" in page
        assert "Password" not in page
    async with asking(site, sessionid=pair.teacher.session_key) as http:
        # Its head has been sent when the server knows who asks.
        assert 'http-equiv="refresh" content="1;url=/conversations"' in (await http.get("/")).text
        assert f">{pair.teacher.username}</strong>" in (await http.get("/conversations")).text


@pytest.mark.slow
async def test_student_and_mentor_chat(site: Site, pair: Pair, tabs: Tabs) -> None:
    old = [f"السؤال {number}" for number in range(PAGE + 10)]
    await say(site.backend, pair.student, *old)

    mentor = await tabs.open_tab(site.url)
    await mentor.sign_in(pair.teacher, "wrong")
    await expect(mentor.problem).to_have_text("Wrong name or password.")
    await mentor.sign_in(pair.teacher)
    link = mentor.page.get_by_role("link", name=pair.student.username)
    await expect(link).to_have_text(f"{pair.student.username}{len(old)}{old[-1]}")

    await mentor.choose(pair.student)
    await mentor.shows(old)  # back to the first unread one
    await expect(link).to_have_text(f"{pair.student.username}{old[-1]}")  # they were on the screen
    await expect(mentor.page.get_by_role("button", name="Load older messages")).to_have_count(0)

    student = await tabs.open_tab(site.url)
    await (await student.sign_in(pair.student)).is_connected()
    await student.shows(old[-PAGE:])
    await expect(student.bubbles).to_have_class(["read"] * PAGE)
    for tab in (student, mentor):
        await expect(tab.presence).to_have_text("online")

    await mentor.field.press_sequentially("Hel")
    await expect(student.presence).to_have_text("typing…")
    await mentor.write("Hello")
    await expect(student.texts.last).to_have_text("Hello")
    await expect(student.presence).to_have_text("online")
    await expect(mentor.bubbles.last).to_have_class("read")

    await student.write("two\nlines")
    await expect(mentor.texts.last).to_have_text("two\nlines")
    await expect(student.bubbles.last).to_have_class("read")
    await expect(link).to_have_text(f"{pair.student.username}two\nlines")
    everything = [*old, "Hello", "two\nlines"]
    assert await history(site.backend, pair.student) == everything
    await student.page.get_by_role("button", name="Load older messages").click()
    await student.shows(everything)
    await expect(student.page.get_by_role("button", name="Load older messages")).to_have_count(0)

    await student.page.close()
    await expect(mentor.presence).to_have_text(re.compile("^last seen "))


async def test_a_refused_message_can_be_retried_and_discarded(site: Site, pair: Pair, tabs: Tabs) -> None:
    student, mentor = await sign_in_both(tabs, site, pair)
    await student.write("x" * 4001, "short")
    await mentor.shows(["short"])
    await expect(student.bubbles).to_have_class(["read", "failed"])
    await expect(student.problem).to_have_text("Not sent. It is too long. Retry Discard")
    async with student.sockets[-1].expect_event("framesent", lambda frame: "xxx" in str(frame)):
        await student.problem.get_by_role("button", name="Retry").click()
    await expect(student.bubbles).to_have_class(["read", "failed"])
    await student.problem.get_by_role("button", name="Discard").click()
    await student.shows(["short"])
    await mentor.shows(["short"])


async def test_every_message_arrives_once_when_the_backend_is_killed(site: Site, pair: Pair, tabs: Tabs) -> None:
    student, mentor = await sign_in_both(tabs, site, pair)
    asked, answered = ([f"{who} {number}" for number in range(30)] for who in ("question", "answer"))
    writing = asyncio.gather(student.write(*asked[:20]), mentor.write(*answered[:20]))
    await expect(student.texts.nth(9)).to_be_attached()
    site.backend.kill()
    await writing
    for tab in (student, mentor):
        await expect(tab.connection).to_have_text("The server cannot be reached. Connecting…")
    await student.page.reload()  # the page itself cannot be had now, and what was sent must outlive it
    await expect(student.problem).to_have_text("The chat cannot be reached.")
    assert RENDERING_FAILED in [said.split(";")[0] for said in student.own_lines]

    await asyncio.to_thread(site.backend.start)
    await student.page.get_by_role("button", name="Try again").click()
    for tab in (student, mentor):
        await tab.is_connected()
    await asyncio.gather(student.write(*asked[20:]), mentor.write(*answered[20:]))

    for tab in (student, mentor):
        await expect(tab.bubbles).to_have_class([re.compile("read|received")] * 60)
    said = await history(site.backend, pair.student)
    assert [text for text in said if text in asked] == asked
    assert [text for text in said if text in answered] == answered
    for tab in (student, mentor):
        await tab.shows(said)
    assert {said.split(";")[0] for said in student.own_lines} <= {RENDERING_FAILED, UNFINISHED}
    student.console.clear()


async def test_signing_out_in_one_tab_ends_the_others(site: Site, pair: Pair, tabs: Tabs) -> None:
    student, mentor = await sign_in_both(tabs, site, pair)
    other = await tabs.open_tab(site.url, student.page.context)
    await other.is_connected()
    await other.page.get_by_role("button", name="Sign out").click()
    for tab in (student, other):
        await expect(tab.page.get_by_role("button", name="Sign in")).to_be_visible()

    await (await student.sign_in(pair.student)).is_connected()
    await mentor.write("welcome back")
    await student.shows(["welcome back"])
    await mentor.page.get_by_role("button", name="Sign out").click()
    await expect(mentor.page).to_have_url(f"{mentor.url}/")
    await expect(mentor.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "welcome back" not in await mentor.page.content()  # not in a page that Next.js keeps, either


async def test_what_is_being_written_survives_a_failed_sign_out_and_a_reload(
    site: Site, pair: Pair, tabs: Tabs
) -> None:
    student, _ = await sign_in_both(tabs, site, pair)
    await student.field.fill("half a sentence")
    await student.page.route("**/auth/logout/", lambda route: route.abort())
    await student.page.get_by_role("button", name="Sign out").click()
    problem = student.page.locator("header").get_by_role("alert")
    await expect(problem).to_have_text("The chat cannot be reached: you are still signed in.")
    await expect(student.field).to_have_value("half a sentence")
    await student.page.reload()
    await student.is_connected()
    await expect(student.field).to_have_value("half a sentence")
    await student.page.evaluate("void (Storage.prototype.setItem = () => { throw new DOMException('full'); })")
    await student.field.fill("another")
    await expect(student.page.get_by_text("Your browser cannot keep this text")).to_be_visible()
    await student.field.press("Enter")
    await student.shows(["another"])
    await expect(student.page.get_by_text("Your browser cannot keep")).to_have_count(0)


async def test_the_enter_that_ends_a_composition_does_not_send(site: Site, pair: Pair, tabs: Tabs) -> None:
    """Safari's order: the composition has ended before the key is told, with the code 229."""
    student, _ = await sign_in_both(tabs, site, pair)
    await student.field.fill("日本")
    enter = "(field) => field.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', keyCode: 229, bubbles: true}))"
    await student.field.evaluate(enter)
    await expect(student.field).to_have_value("日本")
    await student.field.press("Enter")
    await student.shows(["日本"])


LOCK = "from chat import services; services.lock_{what}({row}.objects.get({by}={id}), by=User.objects.first())"


async def test_a_locked_conversation_or_person_can_only_read(site: Site, pair: Pair, tabs: Tabs) -> None:
    def lock(what: str, row: str, by: str, id: int) -> None:
        code = LOCK.format(what=what, row=row, by=by, id=id)
        site.cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)

    student, mentor = await sign_in_both(tabs, site, pair)
    await asyncio.to_thread(lock, "conversation", "Conversation", "pk", pair.conversation_id)
    for tab in (student, mentor):
        await expect(tab.page.get_by_text("This conversation is locked")).to_be_visible()
        await expect(tab.field).to_have_count(0)
    await asyncio.to_thread(lock, "person", "UserProfile", "user", pair.student.user_id)
    await expect(student.page.get_by_text("Your account is locked")).to_be_visible()
    await expect(student.field).to_have_count(0)


async def test_cookies_that_do_not_reach_the_sockets_name_the_setting(site: Site, pair: Pair, tabs: Tabs) -> None:
    """As without COOKIE_DOMAIN: the session cookie is that of the frontend's host alone."""
    student = await tabs.open_tab(site.url)
    await student.page.context.add_cookies([{"name": "sessionid", "value": pair.student.session_key, "url": site.url}])
    async with student.page.expect_console_message(lambda said: "COOKIE_DOMAIN" in said.text) as told:
        await student.page.reload()
    assert (await told.value).type == "error"
    await expect(student.connection).to_contain_text("Live updates do not get through here")
    student.console.clear()


async def test_a_conversation_of_others_is_not_shown(site: Site, pair: Pair, tabs: Tabs) -> None:
    await say(site.backend, site.pairs[0].student, "private")
    mentor = await tabs.open_tab(site.url)
    await mentor.sign_in(pair.teacher)
    await expect(mentor.page.get_by_text("Choose a student.")).to_be_visible()
    await mentor.page.goto(f"{site.url}/conversations/{site.pairs[0].conversation_id}")
    await expect(mentor.connection).to_have_text("This conversation is not yours.Try again")
    await mentor.shows([])


@pytest.mark.slow
async def test_strict_mode_in_development_leaves_one_socket(lone_cluster: Cluster, prepared: None, tabs: Tabs) -> None:
    port = free_port()
    backend = await asyncio.to_thread(lone_cluster.start, CSRF_TRUSTED_ORIGINS=f"http://localhost:{port}")
    (pair,) = await asyncio.to_thread(lone_cluster.make_pairs)
    env = nextjs_app.settings(backend, NEXT_PUBLIC_CHAT_BASE_URL=f"http://localhost:{backend.port}")
    env["NEXT_PUBLIC_CHAT_SOCKET_URL"] = ""  # instead of that in .env.development: as REST
    with nextjs_app.served("dev", port, env):
        student = await tabs.open_tab(f"http://localhost:{port}")
        await (await student.sign_in(pair.student)).is_connected()
        await say(backend, pair.teacher, "once")
        await student.shows(["once"])
        assert [socket.is_closed() for socket in student.sockets].count(False) == 1
