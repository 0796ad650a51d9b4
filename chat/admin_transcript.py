"""Reading texts in the admin: each reading is recorded; and a conversation as a thread, oldest message first."""

import logging
from collections.abc import Iterable
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from accounts.models import UserProfile
from chat import services
from chat.models import Conversation, Message

logger = logging.getLogger(__name__)

PAGE_SIZE = 100  # messages of a transcript


def transcript(request: HttpRequest, conversation_id: int, site: AdminSite) -> TemplateResponse:
    """Show a page of a conversation as a thread, to those who may see messages; recorded. Five queries."""
    if not (request.user.has_perm("chat.view_conversation") and request.user.has_perm("chat.view_message")):
        raise PermissionDenied
    conversation = get_object_or_404(Conversation.objects.with_people(), pk=conversation_id)
    page, messages = _page(conversation, request.GET.get("page"))
    record_reading(request, messages)
    names = {"student": _name(conversation.student), "mentor": _name(conversation.teacher)}
    for message in messages:
        message.side = "student" if message.sender_id == conversation.student.user_id else "mentor"
        message.name = names[message.side]
    context = site.each_context(request) | {
        "title": gettext("Transcript"),
        "opts": Conversation._meta,
        "conversation": conversation,
        "names": names,
        "messages_shown": messages,  # "messages" are the admin's notices
        "page": page,
    }
    return TemplateResponse(request, "admin/chat/conversation/transcript.html", context)


def _page(conversation: Conversation, number: str | None) -> tuple[Page[int], list[Any]]:
    """Return the page of that number, else the first or last one. Paged by `seq`: no rows are counted or skipped."""
    page = Paginator(range(1, conversation.last_seq + 1), PAGE_SIZE).get_page(number)
    first, last = page.start_index(), page.end_index()
    return page, list(conversation.messages.filter(seq__gte=first, seq__lte=last).order_by("seq"))


def _name(profile: UserProfile) -> str:
    return profile.full_name or profile.user.username


def record_reading(request: HttpRequest, messages: Iterable[Message]) -> None:
    """Record that these messages are shown to the user of the request, before they are: ids, never texts."""
    user = services.signed_in(request.user)
    shown: dict[int, list[int]] = {}
    for message in messages:
        shown.setdefault(message.conversation_id, []).append(message.pk)
    conversations = ContentType.objects.get_for_model(Conversation)
    entries = []
    for conversation_id, message_ids in shown.items():
        ids = ", ".join(map(str, sorted(message_ids)))
        logger.info("user %s is shown messages %s of conversation %s", user.pk, ids, conversation_id)
        entries.append(
            LogEntry(
                user=user,
                content_type=conversations,
                object_id=str(conversation_id),
                object_repr=f"#{conversation_id}",
                action_flag=CHANGE,  # the admin's history has no action for reading
                change_message=f"Looked at messages {ids}.",
            )
        )
    LogEntry.objects.bulk_create(entries)
