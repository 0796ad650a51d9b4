"""The sockets of a conversation, and of others beside it."""

from contextlib import AsyncExitStack

from chat.models import Conversation
from tests.conftest import Connect, Socket
from tests.other_process import RemoteSocket
from tests.people import Cast, conversation_of
from tests.sockets import entered, in_thread


class Room:
    """Opens sockets in turn, which close with the stack."""

    def __init__(self, connect: Connect, cast: Cast, conversation: Conversation, stack: AsyncExitStack) -> None:
        self.connect, self.cast, self.conversation, self.stack = connect, cast, conversation, stack

    async def student(self, key: str | None = None) -> Socket:
        socket: Socket = await self.stack.enter_async_context(entered(self.connect, self.cast.student, key=key))
        return socket

    async def teacher(self, key: str | None = None) -> Socket:
        path = self.conversation
        socket: Socket = await self.stack.enter_async_context(entered(self.connect, self.cast.teacher, path, key=key))
        return socket

    async def bystanders(self) -> list[Socket]:
        """Return sockets that nothing here concerns: other people's, and the teacher's with another student."""
        other = await in_thread(conversation_of, self.cast.other_student, self.cast.trainer)
        enter = self.stack.enter_async_context
        return [
            await enter(entered(self.connect, self.cast.other_student)),
            await enter(entered(self.connect, self.cast.trainer, other)),
        ]


async def stay(*sockets: Socket | RemoteSocket) -> None:
    """Check that these are open and were told nothing."""
    for socket in sockets:
        await socket.silence()
