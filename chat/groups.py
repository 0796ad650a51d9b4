"""The groups of the platform's staff, and what each may do in the admin. Every migration restores them."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.apps.registry import Apps
from django.contrib.auth.management import create_permissions
from django.db.models.signals import post_migrate

# Who mentors and mentored whom, who has written how much, who waits; texts and reports, of which each look is recorded.
SUPPORT = (
    "accounts.view_user",
    "accounts.view_userprofile",
    "chat.view_conversation",
    "chat.view_assignment",
    "chat.view_mentor",
    "chat.view_message",
    "chat.view_report",
)
# They deactivate and lock users, assign mentors, lock and export conversations, handle reports, and see who has looked.
LEADS = (
    *SUPPORT,
    "accounts.change_user",
    "accounts.change_userprofile",
    "chat.export_conversation",
    "chat.view_handoffnote",
    "chat.reassign_mentor",
    "chat.lock_people",
    "chat.lock_conversations",
    "chat.change_report",
    "chat.view_auditentry",
)

LEADS_GROUP = "leads"
GROUPS = {"support": SUPPORT, LEADS_GROUP: LEADS}


def connect(config: AppConfig) -> None:
    """Keep the groups after each migration; called once, when the app is ready."""
    post_migrate.connect(_keep, sender=config)


def _keep(using: str, apps: Apps = all_apps, **kwargs: Any) -> None:
    """Create the groups, and give each exactly its permissions; who is in them stays."""
    create_permissions(apps=apps, using=using, **kwargs)  # Django would do so only after this
    try:
        group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    except LookupError:  # the tables do not exist in this state of the migrations
        return
    rows = permission_model._default_manager.using(using).select_related("content_type")
    found = {f"{row.content_type.app_label}.{row.codename}": row for row in rows}
    for name, permissions in GROUPS.items():
        group, _ = group_model._default_manager.using(using).get_or_create(name=name)
        group.permissions.set([found[permission] for permission in permissions if permission in found])
