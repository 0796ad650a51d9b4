"""Exports in the admin: what is chosen in a list is answered as a ZIP file, which is made while it is downloaded."""

from collections.abc import Sequence
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import ngettext

from accounts.models import User
from chat import services
from chat.models import Conversation
from chat.moderation.export import (
    Export,
    export_of_conversations,
    export_of_person,
    export_parts,
    record_export,
    stream,
)

PEOPLE_AT_ONCE = 100
CONVERSATIONS_AT_ONCE = 10_000


def may_export(request: HttpRequest) -> bool:
    """Whether this admin may take texts out of the system."""
    return request.user.has_perm("chat.export_conversation")


def export_people(request: HttpRequest, people: QuerySet[User]) -> StreamingHttpResponse | None:
    """Answer with all that is stored about these people, a folder for each unless it is one; None for too many."""
    chosen = list(people.select_related("profile__assigned_mentor__user").order_by("pk")[: PEOPLE_AT_ONCE + 1])
    if len(chosen) > PEOPLE_AT_ONCE:
        words = ngettext("Choose at most %d person.", "Choose at most %d people.", PEOPLE_AT_ONCE)
        messages.error(request, words % PEOPLE_AT_ONCE)
        return None
    folders = [f"user-{person.pk}/" if len(chosen) > 1 else "" for person in chosen]
    return _answer(
        request, "people", [export_of_person(person, folder) for person, folder in zip(chosen, folders, strict=True)]
    )


def export_conversations(request: HttpRequest, conversations: QuerySet[Conversation]) -> StreamingHttpResponse | None:
    """Answer with these conversations; None for too many."""
    chosen = list(conversations.order_by("pk").values_list("pk", flat=True)[: CONVERSATIONS_AT_ONCE + 1])
    if len(chosen) > CONVERSATIONS_AT_ONCE:
        words = ngettext("Choose at most %d conversation.", "Choose at most %d conversations.", CONVERSATIONS_AT_ONCE)
        messages.error(request, words % CONVERSATIONS_AT_ONCE)
        return None
    return _answer(request, "conversations", [export_of_conversations(chosen)])


def _answer(request: HttpRequest, name: str, exports: Sequence[Export]) -> StreamingHttpResponse:
    record_export(exports, by=services.signed_in(request.user))
    content: Any = stream(export_parts(exports))
    response = StreamingHttpResponse(content, content_type="application/zip")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.now():%Y-%m-%d}.zip"'
    return response
