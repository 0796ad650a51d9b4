"""Who may change whom in the admin, beyond Django's permissions."""

from django.http import HttpRequest

from accounts.models import User


def is_superuser(request: HttpRequest) -> bool:
    """Whether this admin may decide who is who and who may do what."""
    return bool(request.user.is_active and request.user.is_superuser)


def may_change_user(request: HttpRequest, user: User) -> bool:
    """Whether this admin may change this user: a superuser is changed by superusers only."""
    return is_superuser(request) or not user.is_superuser


def may_change_profile(request: HttpRequest, user: User) -> bool:
    """Whether this admin may change this user's profile: their own only as a superuser."""
    return is_superuser(request) or (user != request.user and not user.is_superuser)
