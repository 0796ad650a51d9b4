"""How the page shows that the other side was erased while it is open, and afterwards."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.windows import PHONE, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

ERASED = {"ar": "حُذفت هذه الرسالة.", "en": "This message was erased."}
NOBODY = {"ar": "شخص محذوف", "en": "Erased person"}


WARNING = {"ar": "لا يمكن التراجع عن ذلك.", "en": "This cannot be undone."}


async def erase(open_windows: Windows, cluster: Cluster, pair: Pair, lang: str) -> None:
    """Have a superuser erase the student, after a look at the page that says what will happen."""
    [other] = await asyncio.to_thread(cluster.make_pairs)
    name = other.teacher.username
    change = f"User.objects.filter(username={name!r}).update(is_staff=True, is_superuser=True)"
    code = f"from accounts.models import User; {change}"
    await asyncio.to_thread(cluster.run, "manage.py", "shell", "--no-imports", "-c", code)
    admin = await open_windows.of(other.teacher, f"/admin/accounts/user/?q={pair.student.username}", lang=lang)
    await admin.get(f"input.action-select[value='{pair.student.user_id}']").check()
    await admin.get("select[name=action]").select_option("erase_people")
    await admin.get("button[name=index]").click()
    await expect(admin.get("#content")).to_contain_text(WARNING[lang])
    await expect(admin.get("#content")).to_contain_text(pair.student.username)
    await admin.shoot(f"erase-admin-{lang}-1280")
    await admin.get("input[name=confirmed]").click()
    await expect(admin.get(".messagelist .success")).to_be_visible()


@pytest.mark.parametrize("lang", ["ar", "en"])
async def test_an_open_page_shows_erased_messages_and_names_as_such(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair, lang: str
) -> None:
    async with pair.student.http(shared_cluster.servers[0]) as http:
        for text in ("our secret", "another secret"):
            answer = await http.post("chat/my-conversation/messages/", json={"content": text})
            assert answer.status_code == 201
    path = f"/#/conversations/{pair.conversation_id}"
    mentor = await open_windows.of(pair.teacher, path, lang=lang)
    await mentor.connected()
    await mentor.say("My answer stays")
    await expect(mentor.bubbles).to_have_text(["our secret", "another secret", "My answer stays"])
    await erase(open_windows, shared_cluster, pair, lang)
    erased = [ERASED[lang], ERASED[lang], "My answer stays"]
    await expect(mentor.bubbles).to_have_text(erased)
    await expect(mentor.rows).to_have_text([NOBODY[lang]])
    await expect(mentor.get("#with-name")).to_have_text(NOBODY[lang])
    await mentor.shoot(f"erased-{lang}-1280")

    again = await open_windows.of(pair.teacher, path, lang=lang, size=PHONE)
    await again.connected()
    await expect(again.bubbles).to_have_text(erased)
    await expect(again.get("#with-name")).to_have_text(NOBODY[lang])
    assert pair.student.username not in await again.page.content()
    await again.shoot(f"erased-{lang}-360")
