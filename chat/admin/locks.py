"""Locking people and conversations in the admin."""

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext

from accounts.admin_access import may_change_profile
from accounts.models import User, UserProfile
from chat import services
from chat.models import Conversation
from chat.runtime.database import until_unlocked


def lock_people(site: "ModelAdmin[User]", request: HttpRequest, people: QuerySet[User], is_locked: bool) -> None:
    """Lock or unlock these people, except the admin who asks and, for staff who are none, superusers."""
    by = services.signed_in(request.user)
    profiles = list(UserProfile.objects.filter(user__in=people).select_related("user").order_by("pk"))
    reached = [profile for profile in profiles if profile.user != by and may_change_profile(request, profile.user)]
    if len(reached) < people.count():
        words = gettext("You cannot lock yourself, superusers, or people without a profile.")
        site.message_user(request, words, messages.WARNING)
    lock = services.lock_person if is_locked else services.unlock_person
    changed = [profile.user for profile in reached if until_unlocked(lock, profile, by=by)]
    for user in changed:
        site.log_change(request, user, [{"changed": {"fields": ["Locked"]}}])
    count = len(changed)
    words = ngettext("%d user locked.", "%d users locked.", count)
    if not is_locked:
        words = ngettext("%d user unlocked.", "%d users unlocked.", count)
    site.message_user(request, words % count, messages.SUCCESS)


def lock_conversations(
    site: "ModelAdmin[Conversation]", request: HttpRequest, conversations: QuerySet[Conversation], is_locked: bool
) -> None:
    """Lock or unlock these conversations."""
    by = services.signed_in(request.user)
    lock = services.lock_conversation if is_locked else services.unlock_conversation
    changed = [row for row in conversations.order_by("pk") if until_unlocked(lock, row, by=by)]
    for conversation in changed:
        site.log_change(request, conversation, [{"changed": {"fields": ["Locked"]}}])
    count = len(changed)
    words = ngettext("%d conversation locked.", "%d conversations locked.", count)
    if not is_locked:
        words = ngettext("%d conversation unlocked.", "%d conversations unlocked.", count)
    site.message_user(request, words % count, messages.SUCCESS)
