"""The base of every page of the admin: it survives absurd parameters, and its forms take nothing back."""

import logging
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import DataError, ProgrammingError, transaction
from django.db.models import Field, Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts import search  # noqa: F401 - search fields of people end in "__folded"
from accounts.admin_forms import PresentForm

logger = logging.getLogger(__name__)

# What Django and the drivers raise for a filter's value that no row can have: a year 0, text with NUL, an id too long.
ABSURD = (ValueError, TypeError, ArithmeticError, LookupError, DataError, ProgrammingError)
MAX_WORDS = 20  # of a search: each adds its own conditions, and a thousand of them take a process seconds
NOT_FOUND = _("There is nothing that these filters could find.")


class PatientChangeList(ChangeList):
    """A list that is empty if its filters make no sense. Some of them only the database refuses."""

    filter_specs: list[Any] = []
    has_active_filters = False

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that pass the filters; Django's own answer would be all rows."""
        try:
            return super().get_queryset(request, exclude_parameters)
        except IncorrectLookupParameters:
            messages.warning(request, NOT_FOUND)
            return self.root_queryset.none()

    def get_results(self, request: HttpRequest) -> None:
        """Read the page of rows."""
        try:
            with transaction.atomic():  # PostgreSQL refuses everything else in a transaction after an error
                super().get_results(request)
                len(self.result_list)
        except ABSURD:
            if not self.params and not self.filter_params:
                raise
            messages.warning(request, NOT_FOUND)
            self.queryset = self.root_queryset.none()
            super().get_results(request)


class BaseAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Lists, forms and actions of one model. `unfiltered` names fields too large to be filtered by in the address."""

    form = PresentForm
    unfiltered: tuple[str, ...] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the class of the list."""
        return PatientChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        """Refuse patterns, which may take for ever, and fields that only the search reads."""
        parts = lookup.split("__")
        if parts[0] in self.unfiltered or not {"regex", "iregex"}.isdisjoint(parts):
            return False
        return super().lookup_allowed(lookup, value, request)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search; nothing is found by NUL, which PostgreSQL refuses to look for, or by more than `MAX_WORDS`."""
        if not may_search(search_term):
            return queryset.none(), False
        return super().get_search_results(request, queryset, search_term)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any) -> Any:
        """Do what was chosen with the rows that were chosen; what is no id is nobody's."""
        posted = request.POST.copy()
        chosen = posted.getlist(ACTION_CHECKBOX_NAME)
        posted.setlist(ACTION_CHECKBOX_NAME, [key for key in chosen if _is_id(self.opts.pk, key)])
        request.POST = posted  # type: ignore[assignment]
        return super().response_action(request, queryset, *args, **kwargs)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return the object of the address, or None."""
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        """Show the form, or save it: one save at a time, each on top of what the previous one has stored."""
        if request.method != "POST" or object_id is None:
            return super().changeform_view(request, object_id, form_url, extra_context)
        with transaction.atomic():
            found = self.get_object(request, unquote(object_id))
            if found is not None and self.has_change_permission(request, found):
                self.lock(found)
            return super().changeform_view(request, object_id, form_url, extra_context)

    def lock(self, found: Any) -> None:
        """Lock the rows that the form saves until the transaction ends."""
        lock_rows(type(found), pk=found.pk)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Record who changed which fields of which row: under "History", and in the log, which no admin can edit."""
        parts = message if isinstance(message, list) else []
        fields = [field for part in parts for field in part.get("changed", {}).get("fields", [])]
        logger.info("user %s changed %s of %s %s", request.user.pk, fields, self.opts.model_name, obj.pk)
        return super().log_change(request, obj, message)


def lock_rows(model: type[Model], **which: Any) -> None:
    """Lock rows against other changes until the transaction ends; messages may still refer to them."""
    rows = model._default_manager.filter(**which).select_for_update(no_key=True)
    list(rows.order_by("pk").values_list("pk"))


def may_search(term: str) -> bool:
    """Whether anything can be found by this term, at a bearable price."""
    return "\0" not in term and len(term.split()) <= MAX_WORDS


def _is_id(field: "Field[Any, Any]", text: str) -> bool:
    try:
        field.run_validators(field.to_python(text))
    except (ValueError, ValidationError):
        return False
    return True
