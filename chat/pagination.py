"""Pages of a conversation's history, by `seq`: every page costs the same, since no rows are counted or skipped."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.db.models import F
from django.http import QueryDict
from rest_framework.exceptions import NotFound
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from chat.errors import ClientError
from chat.models import Conversation, ConversationQuerySet, Message
from chat.store.history import Place, place_of
from chat.wire.client_frames import parse_flag, parse_id, parse_query
from chat.wire.server_frames import ConversationBody, ConversationPage

PAGE_SIZE = 50
MAX_PAGE_SIZE = 200
PAGE_PARAMETERS = ("page", "page_size")
CURSOR_PARAMETERS = ("limit", "before", "after")


# Of a mentor's conversations. Each ends in the id, so that no row is on two pages.
ORDERINGS: dict[str, tuple[Any, ...]] = {
    "-updated_at": ("-updated_at", "-pk"),
    "waiting_since": (F("waits_since").asc(nulls_last=True), "-updated_at", "-pk"),
}


def ordered_conversations(rows: ConversationQuerySet, request: Request) -> ConversationQuerySet:
    """Return those of the mentor's conversations that the request's `waiting` wants, in its `ordering`.

    Raises `invalid_parameter`.
    """
    query = parse_query(_values(request), ("ordering", "waiting"))
    ordering = query.get("ordering", "-updated_at")
    if ordering not in ORDERINGS:
        raise ClientError("invalid_parameter", f"{' or '.join(ORDERINGS)} is expected.", field="ordering")
    if ordering == "waiting_since":
        rows = rows.with_waits_since()  # the default order reads no profiles
    rows = rows.order_by(*ORDERINGS[ordering])
    if "waiting" not in query:
        return rows
    return rows.waiting() if parse_flag(query, "waiting", default=True) else rows.not_waiting()


class ConversationPagination(PageNumberPagination):
    """Pages of a mentor's conversations."""

    page_size = PAGE_SIZE
    page_size_query_param = "page_size"
    max_page_size = MAX_PAGE_SIZE

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        """Return the rows of the page; raises `page_not_found`, and `invalid_parameter` for two different pages."""
        parse_query(_values(request), PAGE_PARAMETERS)
        try:
            return super().paginate_queryset(queryset, request, view)
        except NotFound:
            raise _no_such_page() from None

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
    `before` and `after`. Raises `invalid_parameter`, `page_not_found` and `message_not_found`.
    """
    query = parse_query(_values(request), PAGE_PARAMETERS + CURSOR_PARAMETERS)
    by_cursor = [name for name in CURSOR_PARAMETERS if name in query]
    for name in PAGE_PARAMETERS if by_cursor else ():
        if name in query:
            raise ClientError("invalid_parameter", f"Not together with {by_cursor[0]}.", field=name)
    page = _cursor_page(conversation, query) if by_cursor else _numbered_page(conversation, query)
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


def _values(request: Request) -> dict[str, list[str]]:
    given: QueryDict = request.query_params
    return dict(given.lists())


def _no_such_page() -> ClientError:
    return ClientError("page_not_found", "Invalid page.", 404)


def _numbered_page(conversation: Conversation, query: Mapping[str, str]) -> Page:
    size = _page_size(query)
    last = max(1, -(-conversation.last_seq // size))
    text = query.get("page") or "1"
    number = last if text == "last" else parse_id(text)
    if not 1 <= number <= last:
        raise _no_such_page()
    start = (number - 1) * size
    rows = conversation.messages.filter(seq__gt=start, seq__lte=start + size).with_sender().order_by("seq")
    previous = {"page": number - 1} if number > 2 else {} if number == 2 else None
    return Page(list(rows), previous, {"page": number + 1} if number < last else None)


def _page_size(query: Mapping[str, str]) -> int:
    """Return the requested `page_size`; as in DRF, the default replaces an invalid one."""
    size = parse_id(query.get("page_size", ""))
    return min(size, MAX_PAGE_SIZE) if size > 0 else PAGE_SIZE


def _cursor_page(conversation: Conversation, query: Mapping[str, str]) -> Page:
    limit = parse_id(query.get("limit", str(PAGE_SIZE)))
    if limit < 1:
        raise ClientError("invalid_parameter", "A positive number is expected.", field="limit")
    limit = min(limit, MAX_PAGE_SIZE)
    if "before" in query and "after" in query:
        raise ClientError("invalid_parameter", "Either before or after, not both.", field="after")
    if "after" in query:
        return _page_after(conversation, _place(conversation, query, "after"), limit)
    place = _place(conversation, query, "before") if "before" in query else None
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


def _place(conversation: Conversation, query: Mapping[str, str], name: str) -> Place:
    place = place_of(conversation, parse_id(query[name]))
    if place is None:
        raise ClientError("message_not_found", "No such message in this conversation.", 400, field=name)
    return place
