"""The base of the chat's pages in the admin: to be read, and cheap for large tables."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from accounts.admin_base import BaseAdmin


class ReadOnlyAdmin(BaseAdmin):
    """Read-only: a change here would bypass the order and the delivery of messages."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # they would count the whole table once for each filter

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody."""
        return False
