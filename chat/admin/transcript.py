"""A conversation as a thread in the admin, oldest message first; each page that is shown is recorded."""

from typing import Any

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from accounts.models import UserProfile
from chat.admin.audit import record_opening, record_reading
from chat.models import Conversation
from chat.previews import is_preview

PAGE_SIZE = 100  # messages of a transcript


def transcript(request: HttpRequest, conversation_id: int, site: AdminSite) -> HttpResponse:
    """Show a page of a conversation as a thread, to those who may see messages; recorded. Five queries."""
    if not (request.user.has_perm("chat.view_conversation") and request.user.has_perm("chat.view_message")):
        raise PermissionDenied
    if is_preview(request):
        return HttpResponseForbidden()
    conversation = get_object_or_404(Conversation.objects.with_people(), pk=conversation_id)
    page, messages = _page(conversation, request.GET.get("page"))
    record_reading(request, messages)
    if not messages:
        record_opening(request, conversation, "transcript, empty")
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
