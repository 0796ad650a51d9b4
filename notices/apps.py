"""The app of the notices."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class NoticesConfig(AppConfig):
    """Notices for people who are away."""

    name = "notices"
    verbose_name = _("Notices")

    def ready(self) -> None:
        """Have exports of a person name their devices, and healing know what people were told of."""
        from chat.moderation import export
        from chat.store import notice_times
        from notices.looks import still_to_tell
        from notices.subscriptions import devices_of

        export.stored_elsewhere["devices"] = devices_of
        notice_times.still_to_tell = still_to_tell
