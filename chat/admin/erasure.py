"""Erasing people in the admin: a page says what will happen, and superusers confirm it."""

import time
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext

from accounts.models import User
from chat import services
from chat.models import Message
from chat.moderation.erasure import erase_person

SECONDS = 2.5  # a request has 4; what takes longer goes on when the action is chosen again
PEOPLE_AT_ONCE = 100


def erase_people(
    modeladmin: "ModelAdmin[User]", request: HttpRequest, people: QuerySet[User]
) -> TemplateResponse | None:
    """Show what will happen to these people, or erase them if that is confirmed."""
    chosen = list(_with_counts(people)[: PEOPLE_AT_ONCE + 1])
    if len(chosen) > PEOPLE_AT_ONCE:
        words = ngettext("Choose at most %d person.", "Choose at most %d people.", PEOPLE_AT_ONCE)
        messages.error(request, words % PEOPLE_AT_ONCE)
        return None
    if request.user in chosen:
        messages.error(request, gettext("You cannot erase yourself."))
        return None
    if "confirmed" not in request.POST:
        return _page(modeladmin, request, chosen)
    _erase(modeladmin, request, chosen)
    return None


def _with_counts(people: QuerySet[User]) -> QuerySet[Any]:
    sent = Message.objects.filter(sender=OuterRef("pk")).order_by().values("sender")
    count = Subquery(sent.annotate(count=Count("pk")).values("count"))
    return people.select_related("profile").annotate(message_count=Coalesce(count, 0)).order_by("pk")


def _page(modeladmin: "ModelAdmin[User]", request: HttpRequest, people: list[User]) -> TemplateResponse:
    context = modeladmin.admin_site.each_context(request) | {
        "title": gettext("Erase people"),
        "opts": modeladmin.opts,
        "people": people,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/chat/erase_people.html", context)


def _erase(modeladmin: "ModelAdmin[User]", request: HttpRequest, people: list[User]) -> None:
    until = time.monotonic() + SECONDS
    by = services.signed_in(request.user)
    done = 0
    for person in people:
        if not erase_person(person=person, by=by, until=until):
            break
        person.refresh_from_db()
        modeladmin.log_change(request, person, [{"changed": {"fields": ["Erased"]}}])
        done += 1
        if time.monotonic() > until:
            break
    if done:
        words = ngettext("%d person erased.", "%d people erased.", done) % done
        modeladmin.message_user(request, words, messages.SUCCESS)
    if left := len(people) - done:
        words = ngettext(
            "%d person has too many messages for one step: choose the action again to go on.",
            "%d people have too many messages for one step: choose the action again to go on.",
            left,
        )
        modeladmin.message_user(request, words % left, messages.WARNING)
