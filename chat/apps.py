"""The chat app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    """Conversations, messages and their live delivery."""

    name = "chat"
    verbose_name = _("Chat")

    def ready(self) -> None:
        """Connect the receivers of signals."""
        from chat import groups
        from chat.bus import signals
        from chat.moderation import reassignment, report_metrics
        from chat.store import deletion

        signals.connect()
        deletion.connect()
        reassignment.connect()
        groups.connect(self)
        report_metrics.register()
