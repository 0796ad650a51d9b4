"""The REST views of a student's conversations with former mentors, which can only be read."""

from typing import Any, NoReturn

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chat import services
from chat.errors import refusal
from chat.models import Conversation
from chat.pagination import ConversationPagination
from chat.store.overview import conversation_bodies
from chat.views.conversations import PAGES, MessagesView
from chat.wire.server_frames import ConversationPage, PageProblem, Problem


class FormerConversationsView(APIView):
    """The conversations of a student with former mentors."""

    refusals = {403: "Not a student."}

    @extend_schema(
        parameters=PAGES, responses={200: ConversationPage, 400: (PageProblem, Problem), 404: "No such page."}
    )
    def get(self, request: Request) -> Response:
        """Return the conversations, newest activity first."""
        user = services.signed_in(request.user)
        former = services.former_conversations(user=user).order_by("-updated_at", "-pk")
        paginator = ConversationPagination()
        ids = paginator.paginate_queryset(former.values_list("pk", flat=True), request, self)
        return paginator.get_paginated_response(conversation_bodies(ids or [], user))


class FormerMessagesView(MessagesView):
    """The messages of a conversation with a former mentor."""

    refusals = {403: "Not a student.", 404: "Not a conversation with a former mentor of this student."}

    def conversation(self, request: Request, **kwargs: Any) -> Conversation:
        """Return the student's former conversation of that id."""
        user = services.signed_in(request.user)
        return services.former_conversation(user=user, conversation_id=kwargs["conversation_pk"])

    @extend_schema(request=None, responses={403: "The conversation is closed, or the account is locked."})
    def post(self, request: Request, **kwargs: Any) -> NoReturn:
        """Refuse a message."""
        self.conversation(request, **kwargs)
        services.refuse_locked(user=services.signed_in(request.user))
        raise refusal("conversation_closed")
