"""Users, and their profiles with a role and, for a student, a mentor."""

import re
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from accounts.names import folded_name, normal_name


class RoleChoices(models.TextChoices):
    """The role of a person on the platform."""

    STUDENT = "STUDENT", _("Student")
    TEACHER = "TEACHER", _("Teacher")
    TRAINER = "TRAINER", _("Trainer")
    ADMIN = "ADMIN", _("Administrator")


class Language(models.TextChoices):
    """The languages of the page and of e-mails, each by its own name."""

    ARABIC = "ar", "العربية"
    ENGLISH = "en", "English"


MENTOR_ROLES = (RoleChoices.TEACHER, RoleChoices.TRAINER)


# The user name that is left of a person who is erased.
ERASED_NAME = "erased-{}"
KEPT_NAMES = re.compile(r"erased-\d+")


def is_erased(user_id: int, username: str) -> bool:
    """Return whether the user of this id is erased, whose name is this one."""
    return username == ERASED_NAME.format(user_id)


class User(AbstractUser):
    """The platform's user. Without fields of its own: Django cannot replace its user model later."""

    @classmethod
    def normalize_username(cls, username: str) -> str:
        """Return the name as it is stored, by `create_user` and by forms."""
        return normal_name(username)

    def clean(self) -> None:
        """Refuse a new name that is kept for people who are erased."""
        super().clean()
        is_kept = KEPT_NAMES.fullmatch(folded_name(self.username))
        if is_kept and not User.objects.filter(pk=self.pk, username=self.username).exists():
            raise ValidationError({"username": _("This name is kept for people who are erased.")})

    @property
    def erased_name(self) -> str:
        """The user name that is left of this person when they are erased."""
        return ERASED_NAME.format(self.pk)

    @property
    def is_erased(self) -> bool:
        """Whether this person is erased; their user name says so, which is the last thing that is changed."""
        return is_erased(self.pk, self.username)


class UserProfile(models.Model):
    """The profile of a user: full name, role and, for a student, the assigned mentor."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, related_name="profile", verbose_name=_("user"))
    full_name = models.CharField(_("full name"), max_length=150, blank=True, default="")
    role = models.CharField(_("role"), max_length=10, choices=RoleChoices.choices, default=RoleChoices.STUDENT)
    assigned_mentor = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="students",
        limit_choices_to={"role__in": MENTOR_ROLES},
        verbose_name=_("assigned mentor"),
    )
    is_locked = models.BooleanField(_("locked"), default=False, db_default=False, editable=False)
    # Null: the language that the browser asks for.
    language = models.CharField(  # noqa: DJ001 - null is a choice of its own
        _("language"), max_length=2, choices=Language.choices, null=True, blank=True
    )
    notify_push = models.BooleanField(_("notices on devices"), default=True, db_default=True)
    notify_email = models.BooleanField(_("notices by e-mail"), default=True, db_default=True)

    changed_by: User | None = None  # who has this instance saved, for those who record it; never stored here

    class Meta:
        verbose_name = _("profile")
        verbose_name_plural = _("profiles")
        constraints = [
            models.CheckConstraint(
                condition=~Q(assigned_mentor=F("pk")) | Q(assigned_mentor__isnull=True),
                name="accounts_profile_not_own_mentor",
                violation_error_message=_("Nobody can be their own mentor."),
            )
        ]

    def __str__(self) -> str:
        return self.full_name or f"#{self.pk}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, in one transaction with what a changed mentor brings with it; not `is_locked`, which may be stale."""
        if not self._state.adding and kwargs.get("update_fields") is None:
            fields = (field.name for field in self._meta.concrete_fields if not field.primary_key)
            kwargs["update_fields"] = [name for name in fields if name != "is_locked"]
        with transaction.atomic():
            super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse another user, a mentor for a person who is no student, and a mentor who is no teacher or trainer."""
        if UserProfile.objects.filter(pk=self.pk).exclude(user=self.user_id).exists():
            raise ValidationError({"user": _("A profile stays with the user it was made for.")})
        if self.assigned_mentor is None:
            return
        if not self.is_student:
            raise ValidationError({"assigned_mentor": _("Only students have a mentor.")})
        if not self.assigned_mentor.is_mentor:
            raise ValidationError({"assigned_mentor": _("A mentor must be a teacher or a trainer.")})

    @property
    def is_student(self) -> bool:
        """Whether this person is a student, who can have a mentor."""
        return self.role == RoleChoices.STUDENT

    @property
    def is_mentor(self) -> bool:
        """Whether this person may mentor students."""
        return self.role in MENTOR_ROLES

    @property
    def mentor(self) -> "UserProfile | None":
        """The present mentor. None: not a student, no mentor assigned, or the assigned person is not a mentor now."""
        if not self.is_student or self.assigned_mentor is None or not self.assigned_mentor.is_mentor:
            return None
        return self.assigned_mentor
