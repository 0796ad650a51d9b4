"""A mail server on the loopback, to which EMAIL_URL leads."""

from collections.abc import Iterator
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from qader import environment
from tests.servers import free_port


class Mailbox:
    """What the mail server got. `answer` is what it says to each e-mail, and `refused` what it says to receivers."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], str]] = []
        self.answer = "250 OK"
        self.refused: dict[str, str] = {}

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Any, envelope: Any, address: str, ___: Any
    ) -> str:
        if address not in self.refused:
            envelope.rcpt_tos.append(address)
        return self.refused.get(address, "250 OK")

    async def handle_DATA(self, _: SMTP, __: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if self.answer.startswith("250"):
            self.got.append((envelope.rcpt_tos, envelope.content.decode()))
        return self.answer


@pytest.fixture
def mailbox(settings: Any) -> Iterator[Mailbox]:
    """A running one."""
    handler, port = Mailbox(), free_port()
    server = Controller(handler, hostname="127.0.0.1", port=port)
    server.start()
    settings.EMAIL_URL = f"smtp://127.0.0.1:{port}"
    for name, value in environment.email(settings.EMAIL_URL, settings.DEFAULT_FROM_EMAIL).items():
        setattr(settings, name, value)
    yield handler
    server.stop()
