"""The HTTP answers that clients have not read yet: bounded for the whole process.

An application keeps an answer in memory until the last part of it is written. The time for reading it is limited, but
many clients may ask for large answers and read nothing.
"""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)


class Answer:
    """One answer that is being written."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.abort = abort
        self.unread_bytes = 0


class UnreadAnswers:
    """Cuts the largest answer when more than `limit` bytes of all answers are not written yet."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._answers: set[Answer] = set()

    async def run(self, application: Any, abort: Callable[[], None], scope: Any, receive: Any, send: Any) -> None:
        """Run the application for one request; `abort` cuts its connection."""
        answer = Answer(abort)

        async def send_counted(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._begin(answer, message)
            await send(message)
            # Not below 0, which an answer that announces no length would reach: it must not make room for others.
            answer.unread_bytes = max(0, answer.unread_bytes - len(message.get("body", b"")))

        try:
            await application(scope, receive, send_counted)
        finally:
            self._answers.discard(answer)

    def _begin(self, answer: Answer, start: dict[str, Any]) -> None:
        answer.unread_bytes = next(
            (int(value) for name, value in start["headers"] if name.lower() == b"content-length"), 0
        )
        self._answers.add(answer)
        while sum(answer.unread_bytes for answer in self._answers) > self.limit:
            largest = max(self._answers, key=lambda answer: answer.unread_bytes)
            self._answers.discard(largest)
            logger.warning("an answer was cut: clients do not read")
            largest.abort()
