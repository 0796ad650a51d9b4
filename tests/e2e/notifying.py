"""`manage.py notify_unread` beside a push service of the tests: `python -m tests.e2e.notifying [--steps] ARGUMENTS`.

PUSH_PORT is where the name of the service leads to. With `--steps`, the command runs again and again on new unread
messages, killed one step later each time, until it reaches its end; behind each killed one comes one that is not.
A step is a statement of the database, or a call of the push service. Prints how many times it was killed.
"""

import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

import django

CONVERSATIONS = 2


def lead_to_service() -> None:
    """Have the name of the push service lead to the loopback."""
    from tests.push_service import HOST

    real: Callable[..., Any] = socket.getaddrinfo
    port = int(os.environ["PUSH_PORT"])

    def found(host: str, asked: Any, *args: Any, **kwargs: Any) -> Any:
        return real("127.0.0.1", port, *args, **kwargs) if host == HOST else real(host, asked, *args, **kwargs)

    setattr(socket, "getaddrinfo", found)  # noqa: B010 - for mypy


def in_child(work: Callable[[], object]) -> int:
    """Do this in a process of its own; return how it ended, negative for a signal."""
    sys.stdout.flush()
    if pid := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
        sys.stdout.flush()
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)


class Killer:
    """Ends this process at the given step, as SIGKILL does."""

    def __init__(self, step: int) -> None:
        self.left = step

    def step(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with a step before and one behind it."""

        def stepped(*args: Any, **kwargs: Any) -> Any:
            self.step()
            result = function(*args, **kwargs)
            self.step()
            return result

        return stepped

    def install(self) -> None:
        from django.db.backends.base.base import BaseDatabaseWrapper
        from django.db.backends.utils import CursorWrapper

        steps = (CursorWrapper, "execute"), (BaseDatabaseWrapper, "commit")
        for owner, name in (*steps, (ssl.SSLSocket, "sendall"), (ssl.SSLSocket, "recv_into")):
            setattr(owner, name, self.around(getattr(owner, name)))


def notify(*arguments: str) -> None:
    from django.core.management import call_command

    call_command("notify_unread", *arguments, stdout=sys.stderr)


def make_due(step: int) -> None:
    """Make unread messages that are due, for browsers of this step; nothing is left of the step before."""
    from chat.models import Conversation, Message
    from notices.models import Notice, PushSubscription
    from tests.notices import subscribe
    from tests.push_service import Browser

    for rows in (Message.objects, Notice.objects, PushSubscription.objects):
        rows.all().delete()
    Conversation.objects.update(student_notify_at=None)
    for conversation in Conversation.objects.with_people():
        subscribe(conversation.student.user, Browser(f"{step}-{conversation.pk}"))
        Message.objects.create(conversation=conversation, sender=conversation.teacher.user, content="one")


def kill_at(step: int) -> None:
    Killer(step).install()
    notify("--once")


def steps() -> None:
    from tests.e2e.seed import seed

    assert in_child(lambda: seed(CONVERSATIONS)) == 0
    for step in range(1000):
        assert in_child(lambda step=step: make_due(step)) == 0
        ended = in_child(lambda step=step: kill_at(step))
        assert ended in {0, -signal.SIGKILL}, ended
        assert in_child(lambda: notify("--once")) == 0
        if ended == 0:
            print(step)  # noqa: T201 - what the test reads
            return


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
    lead_to_service()
    django.setup()
    if sys.argv[1:] == ["--steps"]:
        steps()
    else:
        notify(*sys.argv[1:])
