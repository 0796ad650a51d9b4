"""Log-in, users and groups in the admin. Who is who, and who may do what, is for superusers alone."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_access import is_superuser, may_change_user
from accounts.admin_base import BaseAdmin, lock_rows
from accounts.admin_deletion import KeepsPeople
from accounts.admin_forms import PresentForm
from accounts.admin_names import name_column, shown_name
from accounts.admin_profiles import ProfileInline
from accounts.forms import EmailField, NameField
from accounts.models import User, UserProfile

NAME_FIELDS = {"username": NameField, "email": EmailField}


class UserForm(PresentForm, UserChangeForm):  # type: ignore[type-arg]
    """A user's page."""


@admin.register(User)
class UserAdmin(KeepsPeople, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users with their profile.

    Who may sign in as whom, and who may do what, is decided by superusers alone: they add users, and change user names,
    e-mail addresses, passwords and permissions. Other staff change whether a user is active, and the profile.
    """

    form = UserForm
    inlines = [ProfileInline]
    readonly_fields = ("last_login", "date_joined")
    superusers_only = ("username", "email", "is_staff", "is_superuser", "groups", "user_permissions")
    fieldsets = (
        (None, {"fields": ("username", "email", "password")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser")}),
        (_("Permissions in the admin"), {"classes": ("collapse",), "fields": ("groups", "user_permissions")}),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "usable_password", "password1", "password2")}),
    )
    list_display = (
        name_column("username", User._meta.get_field("username").verbose_name, "username"),
        "full_name",
        "role",
        "mentor",
        "is_active",
        "last_login",
    )
    list_select_related = ("profile__assigned_mentor__user",)
    list_filter = (
        "profile__role",
        ("profile__assigned_mentor", admin.EmptyFieldListFilter),
        "is_active",
        "is_staff",
    )
    search_fields = ("username", "email", "profile__full_name__folded")
    actions = ["deactivate", "activate"]
    profile_path = "profile__"
    also_needed = Exists(LogEntry.objects.filter(user=OuterRef("pk")))

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Return what this admin may only look at."""
        return self.readonly_fields if is_superuser(request) else (*self.readonly_fields, *self.superusers_only)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        """Show the password, which is a hash and a link to its form, to superusers alone."""
        fieldsets = super().get_fieldsets(request, obj)
        if is_superuser(request):
            return fieldsets
        shown = [
            {**options, "fields": [name for name in options["fields"] if name != "password"]}
            for _title, options in fieldsets
        ]
        return list(zip((title for title, _options in fieldsets), shown, strict=True))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Read names and addresses as the log-in does."""
        kwargs |= {"form_class": NAME_FIELDS[db_field.name]} if db_field.name in NAME_FIELDS else {}
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers: whoever adds a user knows the password."""
        return is_superuser(request)

    def may_change(self, request: HttpRequest, person: User) -> bool:
        """A superuser is changed by superusers only."""
        return may_change_user(request, person)

    def lock(self, found: User) -> None:
        """Lock the profile first, as the deletion of a person does."""
        lock_rows(UserProfile, user=found)
        super().lock(found)

    @transaction.atomic
    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set somebody's password: for superusers alone. Staff change their own with the old one."""
        if not is_superuser(request):
            raise PermissionDenied
        if request.method == "POST" and (found := self.get_object(request, id)) is not None:
            self.lock(found)
        return super().user_change_password(request, id, form_url)

    @admin.display(description=_("full name"), ordering="profile__full_name")
    def full_name(self, user: User) -> str:
        """Return the name on the profile, if there is one."""
        profile = _profile(user)
        return shown_name(profile.full_name) if profile else ""

    @admin.display(description=_("role"), ordering="profile__role")
    def role(self, user: User) -> str:
        """Return the role in words, if there is one."""
        profile = _profile(user)
        return profile.get_role_display() if profile else ""

    @admin.display(description=_("mentor"), ordering="profile__assigned_mentor__full_name")
    def mentor(self, user: User) -> str:
        """Return the assigned mentor's name, if there is one."""
        profile = _profile(user)
        mentor = profile.assigned_mentor if profile else None
        return shown_name(mentor.full_name or mentor.user.username) if mentor else ""

    @admin.action(description=_("Deactivate selected users"), permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Sign the selected users out and lock them out, except the admin who asks."""
        others = [user for user in queryset if user != request.user]
        if len(queryset) > len(others):
            self.message_user(request, gettext("You cannot deactivate yourself."), messages.WARNING)
        self._set_active(request, others, False)

    @admin.action(description=_("Activate selected users"), permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let the selected users sign in again."""
        self._set_active(request, list(queryset), True)

    def _set_active(self, request: HttpRequest, users: list[User], is_active: bool) -> None:
        reached = [user for user in users if may_change_user(request, user)]
        if len(users) > len(reached):
            self.message_user(request, gettext("Superusers are changed by superusers only."), messages.WARNING)
        changed = [user for user in reached if user.is_active != is_active]
        for user in changed:
            user.is_active = is_active
            user.save(update_fields=["is_active"])  # one by one, because the chat closes their sockets on the signal
            self.log_change(request, user, [{"changed": {"fields": ["Active"]}}])
        words = (
            ngettext("%d user activated.", "%d users activated.", len(changed))
            if is_active
            else ngettext("%d user deactivated.", "%d users deactivated.", len(changed))
        )
        self.message_user(request, words % len(changed), messages.SUCCESS)


class GroupAdmin(BaseAdmin, DjangoGroupAdmin):
    """Groups, which hold permissions: superusers change them, and staff with the permission look at them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Superusers."""
        return is_superuser(request)

    def has_change_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Superusers."""
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Group | None = None) -> bool:
        """Superusers."""
        return is_superuser(request)


admin.site.unregister(Group)
admin.site.register(Group, GroupAdmin)


def _profile(user: User) -> UserProfile | None:
    return getattr(user, "profile", None)
