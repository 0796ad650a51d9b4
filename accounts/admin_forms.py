"""Forms of the admin that do not take back what somebody else saved while their page was open."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.boundfield import BoundField
from django.utils.text import get_text_list
from django.utils.translation import gettext_lazy as _

CHANGED_MEANWHILE = _(
    "Somebody else has changed this while your page was open: %(fields)s. Nothing is saved yet. The form now shows "
    "the present values, and your own changes; check them and save again."
)


class PresentForm(forms.ModelForm):  # type: ignore[type-arg]
    """A form for a row that others may change, too.

    Each field carries the value that the page was opened with, in Django's hidden initial input. If the row has another
    value by now, nothing is saved, and the person is told which fields are concerned. Fields that they had not touched
    then show the present value, so that saving again takes nothing back. A form without hidden inputs, which no page
    sends, counts as opened just now.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.changed_meanwhile: list[Any] = []  # labels of fields
        for field in self.fields.values():
            if isinstance(field.widget, forms.TextInput):
                field.widget.attrs["dir"] = "auto"  # names are in either direction, whatever the page's is
        if self.instance.pk is None:
            return
        for field in self.fields.values():
            field.show_hidden_initial = not field.disabled
        if self.is_bound:
            self.data = self.data.copy()  # type: ignore[attr-defined]
            carried = [bound for bound in self if bound.field.show_hidden_initial]
            is_page = any(bound.html_initial_name in self.data for bound in carried)
            self.changed_meanwhile = [str(bound.label) for bound in carried if self._bring_up_to_date(bound, is_page)]

    def clean(self) -> Any:
        """Refuse to save on top of a change that this person has not seen."""
        cleaned = super().clean()
        if self.changed_meanwhile:
            fields = get_text_list(self.changed_meanwhile, _("and"))
            raise ValidationError(CHANGED_MEANWHILE, "changed_meanwhile", {"fields": fields})
        return cleaned

    def _bring_up_to_date(self, bound: BoundField, is_page: bool) -> bool:
        """Whether the row has another value than the page was opened with; an untouched field gets the present one."""
        field, hidden = bound.field, bound.field.hidden_widget()
        present = _texts(field.prepare_value(bound.initial))
        opened = present
        if is_page:
            opened = _texts(hidden.value_from_datadict(self.data, self.files, bound.html_initial_name))
        if opened != present and _texts(bound.data) == opened:
            self.data.setlist(bound.html_name, present)  # type: ignore[attr-defined]
        self.data.setlist(bound.html_initial_name, present)  # type: ignore[attr-defined]
        return opened != present


def _texts(value: Any) -> list[str]:
    """Return a field's value as a form posts it, in one order: one text, or one for each of several values."""
    values = value if isinstance(value, list | tuple) else [value]
    return sorted("" if one is None else str(one) for one in values)
