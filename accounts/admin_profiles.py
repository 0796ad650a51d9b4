"""Profiles in the admin: role, name and mentor. Nobody but a superuser makes themselves a mentor there."""

from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.admin_access import is_superuser, may_change_profile
from accounts.admin_deletion import KeepsPeople
from accounts.admin_forms import PresentForm
from accounts.admin_names import name_column, shown_name
from accounts.models import User, UserProfile


class ProfileForm(PresentForm):
    """A profile. A new one is saved even if all fields have their defaults. `editor` is who fills in the form."""

    editor: User

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if field := self.fields.get("assigned_mentor"):  # a user with view permission only has no fields
            widget: Any = field.widget
            widget.can_add_related = widget.can_delete_related = False  # too easy to delete a person by accident

    def clean(self) -> Any:
        """Say who changes the profile."""
        self.instance.changed_by = self.editor
        return super().clean()

    def has_changed(self) -> bool:
        """Whether there is anything to save."""
        return self.instance.pk is None or super().has_changed()

    def clean_assigned_mentor(self) -> UserProfile | None:
        """Refuse staff who would give themselves a student, and with them the student's texts."""
        mentor: UserProfile | None = self.cleaned_data["assigned_mentor"]
        is_new = mentor is not None and mentor.pk != self.initial.get("assigned_mentor")
        if is_new and mentor is not None and mentor.user_id == self.editor.pk and not self.editor.is_superuser:
            raise ValidationError(_("Only a superuser can make you somebody's mentor."))
        return mentor


class ProfileInline(admin.StackedInline):  # type: ignore[type-arg]
    """Role, name and mentor on the page of a user."""

    model = UserProfile
    form = ProfileForm
    fields = ("full_name", "role", "assigned_mentor")
    autocomplete_fields = ("assigned_mentor",)
    can_delete = False

    def get_extra(self, request: HttpRequest, obj: User | None = None, **kwargs: Any) -> int:
        """Show a form for a new user, who always gets a profile; an old user without one keeps none."""
        return 0 if obj else 1

    def get_formset(self, request: HttpRequest, obj: User | None = None, **kwargs: Any) -> Any:
        """Return the forms, which know who fills them in."""
        formset: Any = super().get_formset(request, obj, **kwargs)
        formset.form.editor = request.user
        return formset

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff with the permission, for others."""
        return super().has_add_permission(request, obj) and (obj is None or may_change_profile(request, obj))

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Staff with the permission, for others."""
        return super().has_change_permission(request, obj) and (obj is None or may_change_profile(request, obj))


@admin.register(UserProfile)
class UserProfileAdmin(KeepsPeople):
    """Profiles: searched by name to choose a mentor, and edited as on the page of a user.

    A profile's user is fixed once it is made: another one would read all texts of the first.
    """

    form = ProfileForm
    list_display = ("name", name_column("user", _("user"), "user"), "role", "mentor")
    list_select_related = ("user", "assigned_mentor")
    list_filter = ("role",)
    search_fields = ("full_name__folded", "user__username", "user__email")
    ordering = ("full_name", "pk")
    autocomplete_fields = ("user", "assigned_mentor")

    @admin.display(description=_("full name"), ordering="full_name")
    def name(self, profile: UserProfile) -> str:
        """Return the name, or the number of somebody without one."""
        return shown_name(profile)

    @admin.display(description=_("mentor"), ordering="assigned_mentor__full_name", empty_value="-")
    def mentor(self, profile: UserProfile) -> str | None:
        """Return the assigned mentor's name, if there is one."""
        return shown_name(profile.assigned_mentor) if profile.assigned_mentor else None

    def get_readonly_fields(self, request: HttpRequest, obj: UserProfile | None = None) -> Any:
        """Return the user, unless the profile is new."""
        return () if obj is None else ("user",)

    def get_form(
        self, request: HttpRequest, obj: UserProfile | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form, which knows who fills it in."""
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.editor = request.user
        return form

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer staff who are no superusers neither themselves nor superusers as the user of a new profile."""
        if db_field.name == "user" and not is_superuser(request):
            kwargs["queryset"] = User.objects.exclude(Q(pk=request.user.pk) | Q(is_superuser=True))
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def may_change(self, request: HttpRequest, person: UserProfile) -> bool:
        """Nobody but a superuser changes their own profile."""
        return may_change_profile(request, person.user)
