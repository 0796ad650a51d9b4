"""How the page shows that the other side was erased while it is open, and afterwards."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.windows import PHONE, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

ERASED = {"ar": "حُذفت هذه الرسالة.", "en": "This message was erased."}
NOBODY = {"ar": "شخص محذوف", "en": "Erased person"}


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
    arguments = ("manage.py", "erase_person", pair.student.username, "--yes")
    await asyncio.to_thread(shared_cluster.run, *arguments)
    erased = [ERASED[lang], ERASED[lang], "My answer stays"]
    await expect(mentor.bubbles).to_have_text(erased)
    await expect(mentor.rows).to_have_text([NOBODY[lang]])
    await mentor.shoot(f"erased-{lang}-1280")

    again = await open_windows.of(pair.teacher, path, lang=lang, size=PHONE)
    await again.connected()
    await expect(again.bubbles).to_have_text(erased)
    await expect(again.get("#with-name")).to_have_text(NOBODY[lang])
    assert pair.student.username not in await again.page.content()
    await again.shoot(f"erased-{lang}-360")
