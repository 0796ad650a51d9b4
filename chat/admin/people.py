"""What the chat lets admins do with the people in the list of users."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.admin import UserAdmin
from accounts.admin_access import is_superuser
from accounts.models import User
from chat.admin.erasure import erase_people
from chat.admin.exports import export_people, may_export
from chat.admin.locks import lock_people
from chat.admin.reassignment import reassign

admin.site.unregister(User)


@admin.register(User)
class PersonAdmin(UserAdmin):
    """Users, with what can be done with the conversations that they are in."""

    actions = [*UserAdmin.actions, "reassign", "lock_people", "unlock_people", "export_people", "erase_people"]

    def has_reassign_permission(self, request: HttpRequest) -> bool:
        """Leads and superusers."""
        return request.user.has_perm("chat.reassign_mentor")

    def has_lock_permission(self, request: HttpRequest) -> bool:
        """Leads and superusers."""
        return request.user.has_perm("chat.lock_people")

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Leads and superusers."""
        return may_export(request)

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return is_superuser(request)

    @admin.action(description=_("Give selected students another mentor"), permissions=["reassign"])
    def reassign(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        """Ask first, on a page of its own."""
        return reassign(self, request, queryset)

    @admin.action(description=_("Lock selected users"), permissions=["lock"])
    def lock_people(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Close their sockets, and refuse their messages."""
        lock_people(self, request, queryset, True)

    @admin.action(description=_("Unlock selected users"), permissions=["lock"])
    def unlock_people(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let them connect and write again."""
        lock_people(self, request, queryset, False)

    @admin.action(description=_("Export all that is stored about selected users"), permissions=["export"])
    def export_people(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        """Answer with a file."""
        return export_people(request, queryset)

    @admin.action(description=_("Erase selected users for ever"), permissions=["erase"])
    def erase_people(self, request: HttpRequest, queryset: QuerySet[User]) -> Any:
        """Ask first, on a page of its own."""
        return erase_people(self, request, queryset)
