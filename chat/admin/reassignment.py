"""Giving students another mentor in the admin: a page says what will happen, and asks for the mentor and a note."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin import ModelAdmin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import ValidationError
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.admin_access import may_change_profile
from accounts.models import MENTOR_ROLES, User, UserProfile
from chat import services
from chat.models import Conversation, Message
from chat.models.moderation import MAX_NOTE_LENGTH
from chat.runtime.database import until_unlocked

MAX_STUDENTS = 500  # at once: a few seconds, and half of the fields that a form may have
MAX_SHOWN = 100  # conversations on the page, those first that wait longest


class ReassignmentForm(forms.Form):
    """The new mentor, or that there is none, and a note. `editor` is who fills in the form."""

    mentor = forms.ModelChoiceField(
        UserProfile.objects.filter(role__in=MENTOR_ROLES),
        required=False,
        label=_("New mentor"),
        widget=AutocompleteSelect(UserProfile._meta.get_field("assigned_mentor"), admin.site),
    )
    no_mentor = forms.BooleanField(required=False, label=_("No new mentor: only take the present one away"))
    note = forms.CharField(
        required=False,
        label=_("Hand-off note"),
        help_text=_("For the new mentor and admins only. The students never see it."),
        max_length=MAX_NOTE_LENGTH,
        widget=forms.Textarea(attrs={"rows": 5, "cols": 60, "dir": "auto"}),
    )

    def __init__(self, *args: Any, editor: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.editor = editor

    def clean_mentor(self) -> UserProfile | None:
        """Refuse staff who would give themselves students, and with them the students' texts."""
        mentor: UserProfile | None = self.cleaned_data["mentor"]
        if mentor is not None and mentor.user_id == self.editor.pk and not self.editor.is_superuser:
            raise ValidationError(_("Only a superuser can make you somebody's mentor."))
        return mentor

    def clean(self) -> dict[str, Any]:
        """Refuse a mentor and none at once, and neither: a forgotten choice must not leave students alone."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and (cleaned["mentor"] is None) != cleaned["no_mentor"]:
            raise ValidationError(_("Choose a new mentor, or that there is none."))
        return cleaned


def reassign(site: "ModelAdmin[User]", request: HttpRequest, people: QuerySet[User]) -> TemplateResponse | None:
    """Show the page, or do what was chosen on it; None leads back to the list."""
    chosen = list(people.select_related("profile").order_by("pk"))
    students = [user.profile for user in chosen if _may_reassign(request, user)]
    if len(students) < len(chosen):
        words = gettext("Only students have a mentor, and only superusers change superusers and themselves.")
        site.message_user(request, words, messages.WARNING)
    if len(students) > MAX_STUDENTS:
        words = gettext("Choose at most %d students at once.") % MAX_STUDENTS
        site.message_user(request, words, messages.ERROR)
    if not 0 < len(students) <= MAX_STUDENTS:
        return None
    editor = services.signed_in(request.user)
    form = ReassignmentForm(request.POST if "confirmed" in request.POST else None, editor=editor)
    if not form.is_valid():
        return _page(site, request, form, students)
    count = sum(_reassign(site, request, student, form.cleaned_data) for student in students)
    words = ngettext("The mentor of %d student was changed.", "The mentors of %d students were changed.", count)
    site.message_user(request, words % count, messages.SUCCESS)
    return None


def _may_reassign(request: HttpRequest, user: User) -> bool:
    profile = getattr(user, "profile", None)
    return profile is not None and profile.is_student and may_change_profile(request, user)


def _reassign(site: "ModelAdmin[User]", request: HttpRequest, student: UserProfile, chosen: dict[str, Any]) -> bool:
    by = services.signed_in(request.user)
    try:
        changed = until_unlocked(services.reassign_mentor, student, chosen["mentor"], by=by, note=chosen["note"])
    except ValidationError as error:  # somebody's role changed since the page was shown
        site.message_user(request, " ".join(error.messages), messages.ERROR)
        return False
    if changed is not None:
        site.log_change(request, student.user, [{"changed": {"fields": ["Assigned mentor"]}}])
    return changed is not None


def _page(
    site: "ModelAdmin[User]", request: HttpRequest, form: ReassignmentForm, students: list[UserProfile]
) -> TemplateResponse:
    conversations: list[Any] = list(_present(students).order_by(F("waiting").asc(nulls_last=True), "pk"))
    totals = {
        "count": len(conversations),
        "by_student": sum(row.by_student for row in conversations),
        "by_mentor": sum(row.by_mentor for row in conversations),
        "waiting": sum(row.waiting is not None for row in conversations),
    }
    context = site.admin_site.each_context(request) | {
        "title": gettext("Give students another mentor"),
        "opts": site.opts,
        "media": site.media + form.media,
        "form": form,
        "students": students,
        "without": len(students) - len(conversations),
        "totals": totals,
        "conversations": conversations[:MAX_SHOWN],
        "more": len(conversations[MAX_SHOWN:]),
        "checkbox": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/accounts/user/reassign.html", context)


def _present(students: list[UserProfile]) -> QuerySet[Conversation]:
    """Return the conversations of these students with their present mentors, and what is unread and unanswered."""
    messages = Message.objects.filter(conversation=OuterRef("pk")).order_by()
    unread = {
        f"by_{name}": Coalesce(Subquery(_counted(messages.filter(is_read=False, sender=OuterRef(f"{other}__user")))), 0)
        for name, other in (("student", "teacher"), ("mentor", "student"))
    }
    answers = messages.filter(sender=OuterRef("teacher__user")).order_by("-seq").values("seq")[:1]
    asked = messages.filter(sender=OuterRef("student__user"), seq__gt=OuterRef("answered")).order_by("seq")
    rows = Conversation.objects.with_people().filter(
        student__in=students, teacher=F("student__assigned_mentor"), teacher__role__in=MENTOR_ROLES
    )
    return (
        rows.annotate(**unread)
        .annotate(answered=Coalesce(Subquery(answers), 0))
        .annotate(waiting=Subquery(asked.values("timestamp")[:1]))
    )


def _counted(messages: QuerySet[Message]) -> QuerySet[Any]:
    return messages.values("conversation").annotate(count=Count("pk")).values("count")
