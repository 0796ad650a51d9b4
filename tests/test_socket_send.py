"""Sending over a socket, and what both sides hear."""

from asgiref.sync import sync_to_async

from chat.models import Message
from tests.conftest import Cast, Connect, message_object


async def test_a_message_reaches_both_sides_each_with_their_own_view(connect: Connect, live_cast: Cast) -> None:
    conversation = await sync_to_async(lambda: live_cast.conversation)()
    established = {
        "type": "connection_established",
        "conversation_id": str(conversation.pk),
        "room_group_name": f"chat_{conversation.pk}",
    }
    async with connect(live_cast.student) as student, connect(live_cast.teacher, conversation) as teacher:
        assert await student.receive_json() == established
        assert await teacher.receive_json() == established
        await student.send_json({"message": " Hello, how are you today? "})
        heard = await teacher.receive_json()
        own = await student.receive_json()
        stored = await Message.objects.aget()
        assert own == {"type": "new_message", "message": await sync_to_async(message_object)(stored, live_cast.student)}
        assert heard == {"type": "new_message", "message": await sync_to_async(message_object)(stored, live_cast.teacher)}
        await student.silence()
        await teacher.silence()
