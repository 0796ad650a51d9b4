"""Names and texts in the lists of the admin: of any length, in either direction."""

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from django.contrib import admin
from django.utils.html import format_html


def shown_name(name: object) -> str:
    """Return a name that its column cuts at its end, whatever its direction; it is whole in the tooltip."""
    return format_html('<span class="name" dir="auto" title="{0}">{0}</span>', name)


def name_column(path: str, description: Any, ordering: str) -> Callable[[Any], str]:
    """Return a column for a list: the attribute at `path`, such as "student.full_name", of each row; else a dash."""
    value = attrgetter(path)

    @admin.display(description=description, ordering=ordering)
    def column(row: Any) -> str:
        name = value(row)
        return "-" if name is None else shown_name(name)

    column.__name__ = path.replace(".", "_")
    return column
