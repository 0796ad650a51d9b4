"""The app of the notices."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NoticesConfig(AppConfig):
    """Notices for people who are away."""

    name = "notices"
    verbose_name = _("Notices")
