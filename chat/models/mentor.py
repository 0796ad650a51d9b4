"""Mentors, as the admin lists them: how many students wait for each, and how long their answers took."""

from typing import ClassVar, Self

from django.db import models
from django.db.models import Count, Min, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

from accounts.models import MENTOR_ROLES, UserProfile
from chat.models.conversation import Conversation


class MentorQuerySet(models.QuerySet["Mentor"]):
    """Queries on mentors."""

    def with_waiting(self) -> Self:
        """Each with `waiting`, how many students wait, and `longest`, since when the first of them does."""
        theirs = Conversation.objects.waiting().filter(teacher=OuterRef("pk")).order_by().values("teacher")
        return self.annotate(
            waiting=Coalesce(Subquery(theirs.annotate(count=Count("pk")).values("count")), 0),
            longest=Subquery(theirs.annotate(longest=Min("waiting_since")).values("longest")),
        )


class MentorManager(models.Manager.from_queryset(MentorQuerySet)):  # type: ignore[misc]
    """Those who are mentors now."""

    def get_queryset(self) -> MentorQuerySet:
        """Return the teachers and trainers."""
        rows: MentorQuerySet = super().get_queryset().filter(role__in=MENTOR_ROLES)
        return rows


class Mentor(UserProfile):
    """A teacher or trainer, to be read in the admin."""

    objects: ClassVar[MentorManager] = MentorManager()

    class Meta:
        proxy = True
        verbose_name = _("mentor")
        verbose_name_plural = _("mentors")
