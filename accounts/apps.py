"""The accounts app."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    """Users, profiles, roles, mentors."""

    name = "accounts"
    verbose_name = _("Accounts")


class AdminConfig(admin.AdminConfig):
    """Django's admin, with our log-in."""

    default = False  # of this module's two, "accounts" in INSTALLED_APPS means the other
    default_site = "accounts.admin_site.AdminSite"
