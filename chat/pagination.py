"""Pages of a conversation's history, by `seq`: every page costs the same, since no rows are counted or skipped."""

from dataclasses import dataclass
from typing import Any

import msgspec
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from chat.errors import ClientError
from chat.models import Conversation, Message
from chat.store.history import Place, place_of
from chat.wire.client_frames import parse_id
from chat.wire.server_frames import ConversationBody, ConversationPage

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200


class ConversationPagination(PageNumberPagination):
    """Pages of a mentor's conversations."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    def get_paginated_response(self, data: list[ConversationBody]) -> Response:
        """Return the page."""
        assert self.page is not None  # noqa: S101 - `paginate_queryset` came first
        page = ConversationPage(
            count=self.page.paginator.count, next=self.get_next_link(), previous=self.get_previous_link(), results=data
        )
        return Response(msgspec.to_builtins(page))


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, oldest first, and the query parameters of the pages before and after them; None if there is none."""

    messages: list[Message]
    previous: dict[str, Any] | None
    next: dict[str, Any] | None


def history_page(conversation: Conversation, request: Request) -> dict[str, Any]:
    """Return `{count, next, previous, results}` for the parameters of the request; the results are rows.

    The parameters are `page` and `page_size` as in v1, where page 1 is the oldest, or `limit` with at most one of
    `before` and `after`.
    """
    by_cursor = any(name in request.query_params for name in ("limit", "before", "after"))
    page = _cursor_page(conversation, request) if by_cursor else _numbered_page(conversation, request)
    url = request.build_absolute_uri()
    for name in ("before", "after", "page"):
        url = remove_query_param(url, name)

    def link(parameters: dict[str, Any] | None) -> str | None:
        linked = url
        for name, value in (parameters or {}).items():
            linked = replace_query_param(linked, name, value)
        return None if parameters is None else linked

    return {
        "count": conversation.last_seq,
        "next": link(page.next),
        "previous": link(page.previous),
        "results": page.messages,
    }


def _numbered_page(conversation: Conversation, request: Request) -> Page:
    size = _page_size(request)
    last = max(1, -(-conversation.last_seq // size))
    text = request.query_params.get("page") or "1"
    number = last if text == "last" else parse_id(text)
    if not 1 <= number <= last:
        raise NotFound("Invalid page.")
    start = (number - 1) * size
    rows = conversation.messages.filter(seq__gt=start, seq__lte=start + size).with_sender().order_by("seq")
    previous = {"page": number - 1} if number > 2 else {} if number == 2 else None
    return Page(list(rows), previous, {"page": number + 1} if number < last else None)


def _page_size(request: Request) -> int:
    """Return the requested `page_size`; as in DRF, the default replaces an invalid one."""
    size = parse_id(request.query_params.get("page_size", ""))
    return min(size, MAX_PAGE_SIZE) if size > 0 else PAGE_SIZE


def _cursor_page(conversation: Conversation, request: Request) -> Page:
    limit = parse_id(request.query_params.get("limit", str(PAGE_SIZE)))
    if limit < 1:
        raise ValidationError({"limit": ["A positive number is expected."]})
    limit = min(limit, MAX_PAGE_SIZE)
    if "before" in request.query_params and "after" in request.query_params:
        raise ValidationError({"after": ["Either before or after, not both."]})
    if "after" in request.query_params:
        return _page_after(conversation, _place(conversation, request, "after"), limit)
    place = _place(conversation, request, "before") if "before" in request.query_params else None
    rows = conversation.messages.filter(seq__lt=place.before if place else conversation.last_seq + 1)
    messages = list(rows.with_sender().order_by("-seq")[: limit + 1])[::-1]
    older = len(messages) > limit
    messages = messages[-limit:]
    return Page(
        messages,
        {"before": messages[0].pk} if older else None,
        {"after": messages[-1].pk} if place and messages and _has_newer(conversation, place) else None,
    )


def _has_newer(conversation: Conversation, place: Place) -> bool:
    """Whether the page before this place has a next one; `last_seq` cannot tell, its message may be erased."""
    return place.before == place.after or conversation.messages.filter(seq__gte=place.before).exists()


def _page_after(conversation: Conversation, place: Place, limit: int) -> Page:
    rows = conversation.messages.filter(seq__gt=place.after)
    messages = list(rows.with_sender().order_by("seq")[: limit + 1])
    newer = len(messages) > limit
    messages = messages[:limit]
    return Page(
        messages,
        {"before": messages[0].pk} if messages and place.after else None,
        {"after": messages[-1].pk} if newer else None,
    )


def _place(conversation: Conversation, request: Request, name: str) -> Place:
    place = place_of(conversation, parse_id(request.query_params[name]))
    if place is None:
        raise ClientError("message_not_found", "No such message in this conversation.", 400, field=name)
    return place
