"""The REST views: history, sending, the mentor's list of conversations, marking as read."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.db import close_old_connections
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from chat import services
from chat.errors import ClientError
from chat.models import Conversation
from chat.pagination import (
    MAX_PAGE_SIZE,
    ORDERINGS,
    PAGE_SIZE,
    ConversationPagination,
    history_page,
    ordered_conversations,
)
from chat.previews import is_preview
from chat.runtime.database import until_unlocked
from chat.store.overview import conversation_bodies
from chat.wire.client_frames import MessagePost, parse_flag, parse_id, parse_query, read
from chat.wire.server_frames import (
    ConversationBody,
    ConversationPage,
    MarkedBody,
    MessageBody,
    MessagePage,
    MessageProblem,
    PageProblem,
    Problem,
    message_body,
)


def _user(request: Request) -> User:
    return services.signed_in(request.user)


# Used in the OpenAPI document. drf-spectacular and qader/http/openapi.py add the rest.
STUDENTS = {403: "Not a student.", 404: "No mentor is assigned."}
POSITIVE = {"type": "integer", "minimum": 1}
PAGES = [
    OpenApiParameter("page", POSITIVE, description="From 1."),
    OpenApiParameter("page_size", POSITIVE, description=f"{PAGE_SIZE} by default, at most {MAX_PAGE_SIZE}."),
]
CONVERSATIONS = [
    *PAGES,
    OpenApiParameter(
        "ordering",
        enum=list(ORDERINGS),
        default="-updated_at",
        description="Newest activity first, or who has waited longest for an answer, then the others by activity.",
    ),
    OpenApiParameter("waiting", bool, description="`true`: those in which the student waits; `false`: the others."),
]
HISTORY = [
    *PAGES,
    OpenApiParameter("limit", POSITIVE, description=f"At most {MAX_PAGE_SIZE}; alone, it returns the newest messages."),
    OpenApiParameter("before", POSITIVE, description="A message's id: returns `limit` messages before it."),
    OpenApiParameter(
        "after", POSITIVE, description="A message's id: returns `limit` messages after it; not together with `before`."
    ),
    OpenApiParameter("mark_read", bool, description="`false` does not mark the messages as read."),
]


class StudentConversationView(APIView):
    """A student's conversation with their mentor."""

    refusals = STUDENTS

    @extend_schema(responses={200: ConversationBody})
    def get(self, request: Request) -> Response:
        """Return the conversation, made if missing."""
        user = _user(request)
        conversation = services.student_conversation(user=user, create=not is_preview(request))
        return Response(msgspec.to_builtins(conversation_bodies([conversation.pk], user)[0]))


class MentorConversationsView(APIView):
    """The conversations of a teacher or trainer."""

    refusals = {403: "Not a teacher or trainer."}

    @extend_schema(
        parameters=CONVERSATIONS, responses={200: ConversationPage, 400: (PageProblem, Problem), 404: "No such page."}
    )
    def get(self, request: Request) -> Response:
        """Return the conversations, newest activity first; one for every present student, made if missing."""
        user = _user(request)
        mentor = services.mentor_profile(user=user)
        mine = ordered_conversations(Conversation.objects.filter(teacher=mentor), request)
        if not is_preview(request):
            until_unlocked(services.create_missing_conversations, mentor=mentor)
        paginator = ConversationPagination()
        # Select ids first: otherwise the overview would also be computed for skipped rows.
        ids = paginator.paginate_queryset(mine.values_list("pk", flat=True), request, self)
        return paginator.get_paginated_response(conversation_bodies(ids or [], user))


class MessagesView(APIView):
    """The messages of one conversation, which subclasses look up."""

    def conversation(self, request: Request, **kwargs: Any) -> Conversation:
        """Return the conversation of the signed-in user that the path names."""
        raise NotImplementedError

    @extend_schema(parameters=HISTORY, responses={200: MessagePage, 400: (PageProblem, Problem), 404: "No such page."})
    def get(self, request: Request, **kwargs: Any) -> Response:
        """Return a page of messages; marks what the other side sent as read, unless `mark_read=false`."""
        user = _user(request)
        conversation = self.conversation(request, **kwargs)
        query = parse_query(dict(request.query_params.lists()), ["mark_read"])
        mark = parse_flag(query, "mark_read", default=True) and not is_preview(request)
        page = history_page(conversation, request)
        if mark and until_unlocked(
            services.mark_read, conversation=conversation, reader=user, up_to=conversation.last_seq
        ):
            read_seq = getattr(conversation, conversation.read_field(user.pk))
            for message in page["results"]:
                message.is_read = message.is_read or (message.sender_id != user.pk and message.seq <= read_seq)
        page["results"] = [message_body(message, user.pk) for message in page["results"]]
        return Response(msgspec.to_builtins(MessagePage(**page)))

    @extend_schema(
        request=MessagePost,
        responses={
            200: OpenApiResponse(MessageBody, "Already stored under this `client_id`."),
            201: OpenApiResponse(MessageBody, "Stored."),
            400: (MessageProblem, Problem),
            403: "The conversation is closed: the student has another mentor.",
            429: "More messages than the rate limit allows.",
        },
    )
    def post(self, request: Request, **kwargs: Any) -> Response:
        """Send a message; 201, or 200 with the first one for a repeated `client_id`."""
        user = _user(request)
        conversation = self.conversation(request, **kwargs)
        draft = read(request.data, MessagePost)
        # Return the connection to the pool: if all waiting requests kept theirs, the writer would have none.
        close_old_connections()
        sent = async_to_sync(services.send_message)(
            conversation_id=conversation.pk, sender_id=user.pk, content=draft.content, client_id=draft.client_id
        )
        body = msgspec.structs.replace(sent.event.message, is_own_message=True)
        return Response(msgspec.to_builtins(body), status=201 if sent.created else 200)


class StudentMessagesView(MessagesView):
    """A student's messages with their mentor."""

    refusals = STUDENTS

    def conversation(self, request: Request, **kwargs: Any) -> Conversation:
        """Return the student's conversation."""
        return services.student_conversation(user=_user(request), create=not is_preview(request))


class MentorMessagesView(MessagesView):
    """The messages of one of a mentor's conversations."""

    refusals = {403: "Not a teacher or trainer.", 404: "Not a conversation of this mentor."}

    def conversation(self, request: Request, **kwargs: Any) -> Conversation:
        """Return the mentor's conversation of that id."""
        return services.mentor_conversation(user=_user(request), conversation_id=kwargs["conversation_pk"])


class MarkReadView(APIView):
    """Marking a conversation as read."""

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "message_id", POSITIVE, description="Marks up to and including this message; without it, all of them."
            )
        ],
        request=None,
        responses={
            200: MarkedBody,
            403: "Not a conversation of this user.",
            404: "No such message in this conversation.",
        },
    )
    def post(self, request: Request, conversation_pk: int) -> Response:
        """Mark what the other side sent as read and say how many."""
        user = _user(request)
        conversation = Conversation.objects.for_user(user).with_people().filter(pk=conversation_pk).first()
        if conversation is None:
            raise ClientError("not_a_participant", "You are not part of this conversation.", 403)
        mark: Callable[..., int] = services.mark_read
        if "message_id" in request.query_params:
            mark = partial(services.mark_read_up_to, message_id=parse_id(request.query_params["message_id"]))
        count = until_unlocked(mark, conversation=conversation, reader=user)
        return Response(msgspec.to_builtins(MarkedBody(detail=f"{count} messages marked as read.")))


class DoneView(APIView):
    """Saying that a student needs no reply."""

    @extend_schema(request=None, responses={200: ConversationBody, 403: "Not a conversation of this present mentor."})
    def post(self, request: Request, conversation_pk: int) -> Response:
        """End the student's waiting until they write again; returns the conversation."""
        user = _user(request)
        mine = Conversation.objects.for_user(user).with_people().filter(teacher__user=user, pk=conversation_pk)
        conversation = mine.first()
        if conversation is None or not conversation.is_active:
            raise ClientError("not_a_participant", "You are not part of this conversation.", 403)
        until_unlocked(services.mark_done, conversation=conversation)
        return Response(msgspec.to_builtins(conversation_bodies([conversation.pk], user)[0]))
