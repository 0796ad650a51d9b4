"""The project as an app, for its system checks."""

from django.apps import AppConfig


class QaderConfig(AppConfig):
    """Registers the project's system checks."""

    name = "qader"

    def ready(self) -> None:
        """Register the checks."""
        from qader import checks  # noqa: F401
