"""The messages that a client shows, checked as they come."""

from tests.e2e.rest import Message


class ShownMessages:
    """The messages of one conversation as one user sees them; what cannot be is collected in `faults`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: dict[int, Message] = {}  # by id, as this user sees them now
        self.order: list[int] = []  # ids as they came
        self.faults: list[str] = []
        self._read: set[int] = set()  # ids reported as read, perhaps before the message came

    def _learn(self, message: Message) -> None:
        pk = message["id"]
        if known := self.messages.get(pk):
            same = {**known, "is_read": None} == {**message, "is_read": None}
            self._check(same, f"{pk} has changed: {known}, {message}")
        else:
            self._check(not self.order or pk > self.order[-1], f"{pk} came after {self.order[-1:]}")
            self.order.append(pk)
        self._check(message["is_read"] or pk not in self._read, f"{pk} is unread again: {message}")
        if message["is_read"]:
            self._read.add(pk)
        self.messages[pk] = {**message, "is_read": pk in self._read}

    def _mark(self, ids: set[int]) -> None:
        self._read |= ids
        for pk in ids & self.messages.keys():
            self.messages[pk]["is_read"] = True

    def _check(self, condition: object, fault: str) -> None:
        if not condition:
            self.faults.append(f"{self.name}: {fault}")
