"""People who have messages, or who did something in the admin, cannot be deleted there: they are deactivated."""

from typing import Any

from django.contrib import messages
from django.contrib.admin.actions import delete_selected as django_delete_selected
from django.contrib.admin.utils import unquote
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.admin_base import BaseAdmin

WHY_NOT_DELETED = _(
    "People who have messages, or have done something in the admin, cannot be deleted: half of a conversation, or the "
    "record of who read and changed what, would vanish. Deactivate them instead: they are signed out at once, and what "
    "was said and done stays."
)


class KeepsPeople(BaseAdmin):
    """People, of whom an admin may change some. Those who have messages are not deleted, and the page says why.

    `profile_path` leads from the model to the profile.
    """

    profile_path = ""
    also_needed: Any = Q()  # further people who must stay

    def may_change(self, request: HttpRequest, person: Any) -> bool:
        """Whether this admin may change and delete this person, if they may change people at all."""
        raise NotImplementedError

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may be changed; without one, whether people may be changed at all."""
        return super().has_change_permission(request, obj) and (obj is None or self.may_change(request, obj))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may be deleted; without one, whether people may be deleted at all."""
        if obj is not None and (not self.may_change(request, obj) or self._needed([obj.pk])):
            return False
        return super().has_delete_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Add the reason why this person cannot be deleted."""
        fieldsets = tuple(super().get_fieldsets(request, obj))
        if obj is None or not self._needed([obj.pk]):
            return fieldsets
        return (*fieldsets, (_("Deletion"), {"fields": (), "description": WHY_NOT_DELETED}))

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """Show Django's confirmation, or the reason why this person cannot be deleted."""
        person = self.get_object(request, unquote(object_id))
        if person is None or not self._needed([person.pk]):
            return super().delete_view(request, object_id, extra_context)
        self.message_user(request, WHY_NOT_DELETED, messages.ERROR)
        return HttpResponseRedirect(reverse(f"admin:accounts_{self.opts.model_name}_change", args=[person.pk]))

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Replace Django's action that deletes the selected people by ours."""
        actions = super().get_actions(request)
        if found := actions.get("delete_selected"):
            actions["delete_selected"] = (delete_selected, *found[1:])
        return actions

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[Any]]:
        """Permit an admin who may delete a person to delete the profile and empty conversations with them."""
        deleted, counts, _needed, protected = super().get_deleted_objects(objs, request)
        refused = {str(self.opts.verbose_name) for person in objs if not self.may_change(request, person)}
        return deleted, counts, refused, protected

    def _needed(self, keys: list[int]) -> int:
        """Return how many of these have messages. By the names of relations, because we cannot import the chat."""
        conversations = f"{self.profile_path}conversations_as_"
        wrote = Q(**{f"{conversations}student__last_seq__gt": 0}) | Q(**{f"{conversations}teacher__last_seq__gt": 0})
        people: QuerySet[Any] = self.model._default_manager.filter(wrote | self.also_needed, pk__in=keys)
        return people.distinct().count()


def delete_selected(modeladmin: KeepsPeople, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
    """Delete the selected people, unless one of them must stay."""
    kept = modeladmin._needed(list(queryset.values_list("pk", flat=True)))
    if not kept:
        return django_delete_selected(modeladmin, request, queryset)
    count = ngettext("%d of the selected people must stay.", "%d of the selected people must stay.", kept) % kept
    modeladmin.message_user(request, f"{count} {WHY_NOT_DELETED}", messages.ERROR)
    return None
