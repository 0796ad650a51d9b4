"""What the page shows when the staff reassigns a student, or locks a conversation or a person."""

import pytest
from playwright.async_api import expect

from tests.e2e.cluster import Cluster, PageData, Pair
from tests.e2e.windows import NETWORK, PHONE, Windows

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOCK = """
from chat import services
conversation = Conversation.objects.get(pk={conversation})
student, by = UserProfile.objects.get(user={student}), User.objects.get(pk={student})
services.{verb}({what}, by=by)
"""


def act(cluster: Cluster, pair: Pair, verb: str, what: str) -> None:
    """Call a service in a process that is no server."""
    code = LOCK.format(conversation=pair.conversation_id, student=pair.student.user_id, verb=verb, what=what)
    cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)


async def test_a_student_reads_the_conversation_with_a_former_mentor(
    open_windows: Windows, page_data: PageData
) -> None:
    student = await open_windows.new(page_data.people["former"], lang="ar", size=PHONE)
    await (await student.open()).connected()
    await expect(student.get("#with-name")).to_have_text("daniel")
    await expect(student.get("#back")).to_be_hidden()
    await student.page.click("#conversation-menu")
    await expect(student.get("#former-list a")).to_have_count(1)
    await student.shoot("former-menu-ar-360")
    await student.page.click("#former-list a")
    await expect(student.get("#with-name")).to_have_text("mona")
    await expect(student.get("#menu")).to_be_hidden()
    await expect(student.bubbles).to_have_count(2)
    await expect(student.get("#composer")).to_be_hidden()
    await expect(student.get("#closed")).to_contain_text("لم يعد مرشدك")
    await student.shoot("former-ar-360")
    await student.page.reload()
    await expect(student.bubbles).to_have_count(2)
    await student.page.click("#back")
    await student.connected()
    await expect(student.get("#with-name")).to_have_text("daniel")
    await student.say("to the present mentor")
    await expect(student.bubbles.last).to_have_text("to the present mentor")


NOTE = """
from chat import services
student, mentor = UserProfile.objects.get(user={student}), UserProfile.objects.get(user={mentor})
for new in (None, mentor):
    services.reassign_mentor(student, new, by=student.user, note="أخوها مريض" if new else "")
"""


def hand_over(cluster: Cluster, pair: Pair) -> None:
    """Have the mentor told about the student."""
    code = NOTE.format(student=pair.student.user_id, mentor=pair.teacher.user_id)
    cluster.run("manage.py", "shell", "--verbosity", "0", "-c", code)


async def test_the_new_mentor_reads_the_handoff_note_and_the_student_does_not(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    hand_over(shared_cluster, pair)
    mentor = await open_windows.of(pair.teacher, f"/#/conversations/{pair.conversation_id}", lang="ar", size=PHONE)
    await mentor.connected()
    await mentor.page.click("#handoff summary")
    await expect(mentor.get("#handoff-text")).to_have_text("أخوها مريض")
    await mentor.shoot("handoff-ar-360")
    student = await (await open_windows.of(pair.student)).connected()
    assert "مريض" not in await student.page.content()
    await mentor.page.click("#back")
    await expect(mentor.get("#handoff")).to_be_hidden()


async def test_a_lock_of_the_conversation_shows_at_once_on_both_sides(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    windows = [
        await (await open_windows.new(pair.student)).open(),
        await (await open_windows.new(pair.teacher, lang="ar")).open(f"/#/conversations/{pair.conversation_id}"),
    ]
    for window in windows:
        await window.connected()
    act(shared_cluster, pair, "lock_conversation", "conversation")
    for window, text in zip(windows, ("This conversation is locked.", "هذه المحادثة مقفلة."), strict=True):
        await expect(window.get("#closed")).to_contain_text(text)
        await expect(window.get("#composer")).to_be_hidden()
    await windows[1].shoot("locked-ar-1280")
    act(shared_cluster, pair, "unlock_conversation", "conversation")
    for window in windows:
        await window.connected()
    await windows[0].say("here again")
    await expect(windows[1].bubbles.last).to_have_text("here again")


async def test_a_locked_student_reads_and_is_told_why_nothing_can_be_written(
    open_windows: Windows, shared_cluster: Cluster, pair: Pair
) -> None:
    window = await open_windows.new(pair.student, lang="ar", size=PHONE)
    window.may_fail = NETWORK
    await (await window.open()).connected()
    await window.say("before")
    await expect(window.bubbles.last).to_have_text("before")
    act(shared_cluster, pair, "lock_person", "student")
    await expect(window.get("#closed")).to_contain_text("حسابك مقفل")
    await expect(window.get("#composer")).to_be_hidden()
    await expect(window.bubbles).to_have_text(["before"])
    await window.shoot("account-locked-ar-360")
    act(shared_cluster, pair, "unlock_person", "student")
    await window.page.reload()
    await window.connected()
