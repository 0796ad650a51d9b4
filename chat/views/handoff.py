"""The REST view of the hand-off note, for the student's present mentor alone."""

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat import services
from chat.wire.moderation import HandoffNoteBody


class HandoffNoteView(APIView):
    """What the present mentor was told about a student when they were assigned."""

    refusals = {403: "Not a teacher or trainer.", 404: "Not a conversation of this mentor."}

    @extend_schema(responses={200: HandoffNoteBody})
    def get(self, request: Request, conversation_pk: int) -> Response:
        """Return the note; its text is empty if there is none, and for a former mentor."""
        user = services.signed_in(request.user)
        conversation = services.mentor_conversation(user=user, conversation_id=conversation_pk)
        return Response(msgspec.to_builtins(services.handoff_note(conversation)))
