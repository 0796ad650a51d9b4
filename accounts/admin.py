"""Users and profiles in the admin. People who have messages can only be deactivated, not deleted."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected as django_delete_selected
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.models import User, UserProfile
from accounts.throttling import TooManyFailuresError, throttled_authenticate

WHY_NOT_DELETED = _(
    "People who have messages, or have done something in the admin, cannot be deleted: half of a conversation, or the "
    "record of who read and changed what, would vanish. Deactivate them instead: they are signed out at once, and what "
    "was said and done stays."
)


class LoginForm(AdminAuthenticationForm):
    """The admin's log-in, with the same limits as `auth/login/`."""

    def clean(self) -> dict[str, Any]:
        """Sign in by name or e-mail address and password, or raise with the reason."""
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username is None or not password or self.request is None:
            return self.cleaned_data
        try:
            user = throttled_authenticate(self.request, username, password)
        except TooManyFailuresError as error:
            wait = {"minutes": -(-error.retry_after // 60)}
            raise ValidationError(
                _("Too many failed tries. Try again in %(minutes)d min."), "throttled", wait
            ) from error
        if user is None:
            raise self.get_invalid_login_error()
        self.confirm_login_allowed(user)
        self.user_cache = user
        return self.cleaned_data


admin.site.login_form = LoginForm
admin.site.site_header = admin.site.site_title = "Qader"


class ProfileForm(forms.ModelForm):  # type: ignore[type-arg]
    """A profile. A new one is saved even if all fields have their defaults."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if field := self.fields.get("assigned_mentor"):  # a user with view permission only has no fields
            widget: Any = field.widget
            widget.can_add_related = widget.can_delete_related = False  # too easy to delete a person by accident

    def has_changed(self) -> bool:
        """Whether there is anything to save."""
        return self.instance.pk is None or super().has_changed()


class ProfileInline(admin.StackedInline):  # type: ignore[type-arg]
    """Role, name and mentor on the page of a user."""

    model = UserProfile
    form = ProfileForm
    autocomplete_fields = ("assigned_mentor",)
    can_delete = False

    def get_extra(self, request: HttpRequest, obj: User | None = None, **kwargs: Any) -> int:
        """Show a form for a new user, who always gets a profile; an old user without one keeps none."""
        return 0 if obj else 1


class KeepsPeople(admin.ModelAdmin):  # type: ignore[type-arg]
    """Refuses to delete people who have messages, with a reason. `profile_path` leads from the model to the profile."""

    profile_path = ""
    also_needed: Any = Q()  # further people who must stay

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may be deleted; without one, whether people may be deleted at all."""
        return super().has_delete_permission(request, obj) and (obj is None or not self._needed([obj.pk]))

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
        return deleted, counts, set(), protected

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


@admin.register(User)
class UserAdmin(KeepsPeople, DjangoUserAdmin):  # type: ignore[type-arg]
    """Users with their profile."""

    inlines = [ProfileInline]
    fieldsets = (
        (None, {"fields": ("username", "email", "password")}),
        (_("Permissions"), {"fields": ("is_active", "is_staff", "is_superuser")}),
        (_("Permissions in the admin"), {"classes": ("collapse",), "fields": ("groups", "user_permissions")}),
        (_("Important dates"), {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "usable_password", "password1", "password2")}),
    )
    list_display = ("username", "full_name", "role", "mentor", "is_active", "last_login")
    list_select_related = ("profile__assigned_mentor__user",)
    list_filter = (
        "profile__role",
        ("profile__assigned_mentor", admin.EmptyFieldListFilter),
        "is_active",
        "is_staff",
    )
    search_fields = ("username", "email", "profile__full_name")
    actions = ["deactivate", "activate"]
    profile_path = "profile__"
    also_needed = Exists(LogEntry.objects.filter(user=OuterRef("pk")))

    @admin.display(description=_("full name"), ordering="profile__full_name")
    def full_name(self, user: User) -> str:
        """Return the name on the profile, if there is one."""
        profile = _profile(user)
        return profile.full_name if profile else ""

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
        return mentor.full_name or mentor.user.username if mentor else ""

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
        changed = [user for user in users if user.is_active != is_active]
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


@admin.register(UserProfile)
class UserProfileAdmin(KeepsPeople):
    """Profiles: searched by name to choose a mentor, and edited as on the page of a user."""

    form = ProfileForm
    list_display = ("__str__", "user", "role", "assigned_mentor")
    list_select_related = ("user", "assigned_mentor")
    list_filter = ("role",)
    search_fields = ("full_name", "user__username", "user__email")
    ordering = ("full_name", "pk")
    autocomplete_fields = ("user", "assigned_mentor")


def _profile(user: User) -> UserProfile | None:
    return getattr(user, "profile", None)
