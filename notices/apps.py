"""The app of the notices."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NoticesConfig(AppConfig):
    """Notices for people who are away."""

    name = "notices"
    verbose_name = _("Notices")

    def ready(self) -> None:
        """Have exports of a person name their devices."""
        from chat.moderation import export
        from notices.subscriptions import devices_of

        export.stored_elsewhere["devices"] = devices_of
