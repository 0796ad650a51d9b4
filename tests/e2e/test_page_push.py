"""Notices on the page: the device takes pushes once they are switched on, and e-mails can be switched off."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.e2e.cluster import Cluster, Databases, Pair
from tests.e2e.windows import PHONE, Window, Windows, windows
from tests.push_service import HOST, SUBJECT, VAPID_PRIVATE_KEY
from tests.push_service import Browser as PushBrowser

pytestmark = pytest.mark.asyncio(loop_scope="session")

# A browser whose push service is that of the tests: a real one would need the internet. Without a screen it says that
# notifications are denied, whatever it was granted.
SUBSCRIBING = """(subscription) => {
    Object.defineProperty(Notification, "permission", { value: "granted" });
    const made = {
        ...subscription, toJSON: () => subscription,
        unsubscribe: async () => { localStorage.removeItem("pushes"); return true; },
    };
    PushManager.prototype.getSubscription = async () => (localStorage.getItem("pushes") ? made : null);
    PushManager.prototype.subscribe = async ({ userVisibleOnly, applicationServerKey }) => {
        localStorage.setItem("pushes", JSON.stringify([userVisibleOnly, applicationServerKey]));
        return made;
    };
}"""


# `serviceWorker.ready` waits for one that the page itself is in the scope of.
WORKING = """async () => {
    while (!(await navigator.serviceWorker.getRegistrations())[0]?.active) await new Promise(requestAnimationFrame);
}"""


@pytest.fixture(scope="module")
def push_cluster(databases: Databases) -> Iterator[Cluster]:
    """A server with a key of Web Push."""
    made = Cluster(databases.create(), None)
    made.start(VAPID_PRIVATE_KEY=VAPID_PRIVATE_KEY, VAPID_SUBJECT=SUBJECT, PUSH_ALLOWED_HOSTS=HOST)
    yield made
    made.close()


@pytest.fixture
def pair(push_cluster: Cluster) -> Pair:
    return push_cluster.make_pairs(1)[0]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(browser: Browser, push_cluster: Cluster) -> AsyncIterator[Windows]:
    async with windows(browser, push_cluster.servers[0]) as made:
        yield made


async def phone_of(opened: Windows, pair: Pair, device: PushBrowser) -> Window:
    window = await opened.new(pair.student, size=PHONE)
    await window.context.grant_permissions(["notifications"], origin=window.server.url)
    await window.page.add_init_script(f"({SUBSCRIBING})({json.dumps(device.subscription)})")
    return await (await window.open()).connected()


async def choose(window: Window, name: str) -> None:
    await window.page.click("#conversation-menu")
    await window.page.click(f"label[for=notice-{name}]")
    await window.page.keyboard.press("Escape")


def subscribed(cluster: Cluster, pair: Pair) -> list[str]:
    code = (
        "import json; from notices.models import PushSubscription as P;"
        f"print(json.dumps(list(P.objects.filter(user={pair.student.user_id}).values_list('endpoint', flat=True))))"
    )
    return list(json.loads(cluster.run("manage.py", "shell", "--no-imports", "-c", code)))


async def until_subscribed(window: Window, cluster: Cluster, pair: Pair, *expected: str) -> None:
    for _ in range(20):
        if (found := subscribed(cluster, pair)) == list(expected):
            return
        await window.page.wait_for_timeout(100)
    assert found == list(expected)


async def test_a_device_takes_pushes_when_they_are_switched_on_and_again_at_the_next_start(
    opened: Windows, push_cluster: Cluster, pair: Pair
) -> None:
    device = PushBrowser(f"phone-{pair.conversation_id}")
    phone = await phone_of(opened, pair, device)
    assert subscribed(push_cluster, pair) == []
    await choose(phone, "notify")
    await until_subscribed(phone, push_cluster, pair, device.endpoint)
    key = await phone.page.evaluate("JSON.parse(localStorage.pushes)")
    assert (key[0], len(key[1])) == (True, 87)

    delete = "from notices.models import PushSubscription as P; P.objects.all().delete()"
    push_cluster.run("manage.py", "shell", "--no-imports", "-c", delete)
    await phone.page.reload()
    await phone.connected()
    await until_subscribed(phone, push_cluster, pair, device.endpoint)
    await choose(phone, "notify")
    await until_subscribed(phone, push_cluster, pair)


ONLY_OPEN = "Notifications come only while this page is open: {}. To try again, switch them off and on."


async def test_a_device_that_takes_no_pushes_says_why_and_tries_again(
    opened: Windows, push_cluster: Cluster, pair: Pair
) -> None:
    device = PushBrowser(f"failing-{pair.conversation_id}")
    phone = await phone_of(opened, pair, device)
    phone.may_fail = re.compile("status of 503")
    hint, box, subscriptions = phone.get("#notice-hint"), phone.get("#notice-notify"), "**/notify/subscriptions/"
    await phone.page.evaluate(
        """() => {
            window.subscribe = PushManager.prototype.subscribe;
            PushManager.prototype.subscribe = async () => { throw new DOMException("", "AbortError"); };
        }"""
    )
    await phone.page.route(subscriptions, lambda route: route.fulfill(status=503))
    await phone.page.click("#conversation-menu")
    await box.click()
    await expect(hint).to_have_text(ONLY_OPEN.format("the browser cannot reach its push service"))
    await expect(box).to_be_checked()  # while the page is open, they come
    await phone.page.evaluate("void (PushManager.prototype.subscribe = subscribe)")
    await box.click()
    await expect(hint).to_be_hidden()
    await expect(box).not_to_be_checked()
    await box.click()
    await expect(hint).to_have_text(ONLY_OPEN.format("the server did not answer as expected"))
    await expect(box).to_be_checked()
    assert subscribed(push_cluster, pair) == []
    await phone.page.unroute(subscriptions)
    await phone.page.reload()
    await phone.connected()
    await until_subscribed(phone, push_cluster, pair, device.endpoint)
    await expect(hint).to_be_hidden()


async def test_pushes_that_cannot_be_ended_are_not_claimed_to_be_off(
    opened: Windows, push_cluster: Cluster, pair: Pair
) -> None:
    device = PushBrowser(f"staying-{pair.conversation_id}")
    phone = await phone_of(opened, pair, device)
    phone.may_fail = re.compile("status of 503")
    await choose(phone, "notify")
    await until_subscribed(phone, push_cluster, pair, device.endpoint)
    await phone.page.evaluate(
        "PushManager.prototype.getSubscription().then((made) => { made.unsubscribe = async () => false; })"
    )
    await phone.page.route("**/notify/subscriptions/", lambda route: route.fulfill(status=503))
    await choose(phone, "notify")
    await expect(phone.get("#notice-hint")).to_have_text("That did not work. Try again.")
    await expect(phone.get("#notice-notify")).to_be_checked()
    await phone.page.unroute("**/notify/subscriptions/")
    await choose(phone, "notify")
    await until_subscribed(phone, push_cluster, pair)
    await expect(phone.get("#notice-notify")).not_to_be_checked()


async def test_a_push_shows_who_has_written_and_how_many_messages_are_unread(opened: Windows, pair: Pair) -> None:
    phone = await phone_of(opened, pair, PushBrowser(f"shown-{pair.conversation_id}"))
    await choose(phone, "notify")
    devtools = await phone.context.new_cdp_session(phone.page)
    registered: list[Any] = []
    devtools.on("ServiceWorker.workerRegistrationUpdated", lambda event: registered.extend(event["registrations"]))
    await devtools.send("ServiceWorker.enable")
    await phone.page.evaluate(WORKING)
    async with asyncio.timeout(10):
        while not registered:
            await phone.page.wait_for_timeout(100)
    payload = {"conversation_id": pair.conversation_id, "name": "Sara", "count": 3}
    push = {"origin": phone.server.url, "registrationId": registered[0]["registrationId"], "data": json.dumps(payload)}
    [worker] = phone.context.service_workers
    # A browser without a screen allows no notifications.
    await worker.evaluate("self.registration.showNotification = async (...told) => void (self.told = told)")
    await devtools.send("ServiceWorker.deliverPushMessage", push)
    for _ in range(50):
        if found := await worker.evaluate("self.told"):
            break
        await phone.page.wait_for_timeout(100)
    title, options = found
    hash = f"#/conversations/{pair.conversation_id}"
    assert (title, options["body"], options["data"]) == ("Sara", "Unread messages: \u20683\u2069", hash)
    assert options["tag"] == hash  # one of another conversation does not replace it


async def test_e_mails_are_switched_off_and_on(opened: Windows, pair: Pair) -> None:
    phone = await phone_of(opened, pair, PushBrowser(f"mail-{pair.conversation_id}"))
    box = phone.get("#notice-email")
    await phone.page.click("#conversation-menu")
    await expect(box).to_be_checked()
    for is_wanted in (False, True):
        async with phone.page.expect_response("**/api/v1/auth/me/") as answered:
            await phone.page.click("label[for=notice-email]")
        answer = await answered.value
        assert (answer.request.method, answer.status) == ("PATCH", 200)
        assert answer.request.post_data_json == {"notify_email": is_wanted}
        await phone.page.reload()
        await phone.connected()
        await phone.page.click("#conversation-menu")
        await expect(box).to_be_checked(checked=is_wanted)
    await phone.shoot("notices-menu")
