"""`manage.py notify_unread` as real processes: killed at every step, several at once, stopped."""

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, Pair
from tests.e2e.load import tell
from tests.e2e.notifying import CONVERSATIONS
from tests.e2e.server import ROOT, wait_until
from tests.push_service import HOST, SUBJECT, VAPID_PRIVATE_KEY, Browser, PushService, push_service

SETTINGS = {
    "VAPID_PRIVATE_KEY": VAPID_PRIVATE_KEY,
    "VAPID_SUBJECT": SUBJECT,
    "PUSH_ALLOWED_HOSTS": HOST,
    "NOTIFY_PUSH_AFTER": "0",
    "NOTIFY_QUIET_HOURS": "",
}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[PushService]:
    with push_service(tmp_path) as running:
        yield running


def environment(cluster: Cluster, service: PushService) -> dict[str, str]:
    leads = {"PUSH_PORT": str(service.port), "SSL_CERT_FILE": str(service.certificate)}
    return {**cluster.environment, **SETTINGS, **leads}


def start(cluster: Cluster, service: PushService, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.e2e.notifying", *arguments]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment(cluster, service), **pipes)


def finished(process: "subprocess.Popen[str]", seconds: float = 100) -> tuple[str, str]:
    told = process.communicate(timeout=seconds)
    assert process.returncode == 0, told
    return told


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_every_step_it_sends_nothing_twice_and_loses_at_most_one(
    cluster: Cluster, service: PushService
) -> None:
    told, _ = finished(start(cluster, service, "--steps"), 500)
    kills = int(told)
    got = Counter(push.path for push in service.pushes)
    assert max(got.values()) == 1
    sent = Counter(int(path.removeprefix("/send/").partition("-")[0]) for path in got)
    lost = [CONVERSATIONS - sent[step] for step in range(kills + 1)]
    assert max(lost) == 1  # it was also killed between what it writes and what it sends
    assert lost[-1] == 0
    assert kills > 20
    tell(f"{kills} kills, {sum(lost)} lost, {len(got)} sent, none twice")


def send(cluster: Cluster, server: Any, service: PushService, pairs: list[Pair]) -> list[Browser]:
    """Have each student subscribe a browser over REST, and each mentor write a message."""
    import httpx

    browsers = []
    for pair in pairs:
        browser = Browser(f"{pair.conversation_id}")
        browsers.append(browser)
        for person, path, body in (
            (pair.student, "notify/subscriptions/", browser.subscription),
            (pair.teacher, f"chat/teacher/{pair.teacher.path}messages/", {"content": "a secret"}),
        ):
            csrf = "0123456789abcdef0123456789abcdef"
            headers = {"Cookie": person.cookie, "X-CSRFToken": csrf, "Origin": server.url}
            answer = httpx.post(f"{server.url}/api/v1/{path}", json=body, headers=headers, trust_env=False, timeout=20)
            assert answer.status_code == 201, answer.text
    return browsers


@pytest.mark.slow
def test_three_at_once_share_the_work_and_end_when_they_are_told_to(cluster: Cluster, service: PushService) -> None:
    server = cluster.start(**SETTINGS)
    browsers = send(cluster, server, service, pairs := cluster.make_pairs(20))
    processes = [start(cluster, service) for _ in range(3)]
    service.wait_for(len(pairs), 60)
    wait_until(lambda: nothing_due(cluster), "something is still due")
    for process in processes:
        process.send_signal(signal.SIGTERM)
    told = [finished(process)[1].strip().splitlines()[-1] for process in processes]
    assert Counter(push.path for push in service.pushes) == Counter(browser.path for browser in browsers)
    payloads = [payload for browser in browsers for payload in service.to(browser)]
    assert [(one["conversation_id"], one["count"]) for one in payloads] == [(pair.conversation_id, 1) for pair in pairs]
    numbers = [int(line.split()[1]) for line in told]
    assert told == [f"Sent {number} pushes and 0 e-mails; 0 could not be sent." for number in numbers]
    assert sum(numbers) == len(pairs)


def count(cluster: Cluster, rows: str) -> int:
    code = f"from chat.models import Conversation; from notices.models import Start; print({rows}.count())"
    return int(cluster.run("manage.py", "shell", "--no-imports", "-c", code))


def nothing_due(cluster: Cluster) -> bool:
    return count(cluster, "Conversation.objects.exclude(student_notify_at=None)") == 0


def test_without_settings_it_says_so_once_and_waits(cluster: Cluster, service: PushService) -> None:
    command = [sys.executable, "manage.py", "notify_unread"]
    process = subprocess.Popen(command, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = "Notices are off: set VAPID_PRIVATE_KEY for pushes, or EMAIL_URL for e-mails.\n"
    assert process.stdout.readline() == line
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[0] == ""
    assert process.returncode == 0


def test_the_keys_that_the_command_makes_are_taken(cluster: Cluster) -> None:
    private, public = cluster.run("manage.py", "make_vapid_keys").strip().splitlines()
    name, _, key = private.partition("=")
    server = cluster.start(**{name: key, "VAPID_SUBJECT": SUBJECT})
    [pair] = cluster.make_pairs(1)
    import httpx

    answer = httpx.get(f"{server.url}/api/v1/notify/push-key/", headers={"Cookie": pair.student.cookie})
    assert name == "VAPID_PRIVATE_KEY"
    assert public.endswith(f": {answer.json()['public_key']}")


def test_a_server_notes_since_when_notices_are_on_and_that_they_are_off(cluster: Cluster) -> None:
    for settings, expected in ((SETTINGS, 1), (SETTINGS, 1), ({}, 0)):
        server = cluster.start(**settings)
        assert count(cluster, "Start.objects") == expected
        server.close()
