"""Opens the sockets of a conversation, and sockets of people who are not part of it."""

from contextlib import AsyncExitStack

from chat.models import Conversation
from tests.conftest import Connect, Socket
from tests.other_process import RemoteSocket
from tests.people import People, conversation_of
from tests.sockets import connected, in_thread


class ConversationSockets:
    """Opens sockets in turn, which close with the stack."""

    def __init__(self, connect: Connect, people: People, conversation: Conversation, stack: AsyncExitStack) -> None:
        self.connect, self.people, self.conversation, self.stack = connect, people, conversation, stack

    async def student(self, key: str | None = None) -> Socket:
        socket: Socket = await self.stack.enter_async_context(connected(self.connect, self.people.student, key=key))
        return socket

    async def teacher(self, key: str | None = None) -> Socket:
        path = self.conversation
        socket: Socket = await self.stack.enter_async_context(
            connected(self.connect, self.people.teacher, path, key=key)
        )
        return socket

    async def bystanders(self) -> list[Socket]:
        """Return sockets that nothing here concerns: other people's, and the teacher's with another student."""
        other = await in_thread(conversation_of, self.people.other_student, self.people.trainer)
        enter = self.stack.enter_async_context
        return [
            await enter(connected(self.connect, self.people.other_student)),
            await enter(connected(self.connect, self.people.trainer, other)),
        ]


async def open_and_silent(*sockets: Socket | RemoteSocket) -> None:
    """Check that these are open and have received nothing."""
    for socket in sockets:
        await socket.silence()
