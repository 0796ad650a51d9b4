"""The admin's log-in form, and form fields for names and addresses."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import UsernameField
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts.hashers import HashQueueFullError
from accounts.names import normal_name, visible_part
from accounts.throttling import TooManyFailuresError, throttled_authenticate


class NameField(UsernameField):
    """A user name, without what a keyboard or a clipboard added to it."""

    def to_python(self, value: Any) -> Any:
        """Return the name."""
        return super().to_python(normal_name(value) if isinstance(value, str) else value)


class EmailField(forms.EmailField):
    """An e-mail address, likewise."""

    def to_python(self, value: Any) -> Any:
        """Return the address."""
        return super().to_python(normal_name(value) if isinstance(value, str) else value)


class TypedNameField(UsernameField):
    """A user name or an e-mail address at log-in, which may be stored in any form of Unicode."""

    def to_python(self, value: Any) -> Any:
        """Return what is visible of it."""
        return forms.CharField.to_python(self, visible_part(value) if isinstance(value, str) else value)


class LoginForm(AdminAuthenticationForm):
    """The admin's log-in, with the same limits as `auth/login/`.

    If the password was not checked, the error has the code "throttled" or "busy", and `retry_after` is in seconds.
    """

    retry_after: int | None = None

    username = TypedNameField(widget=forms.TextInput(attrs={"autofocus": True}))

    def clean(self) -> dict[str, Any]:
        """Sign in by name or e-mail address and password, or raise with the reason."""
        username, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if username is None or not password or self.request is None:
            return self.cleaned_data
        try:
            user = throttled_authenticate(self.request, username, password)
        except TooManyFailuresError as error:
            self.retry_after = error.retry_after
            wait = {"minutes": -(-error.retry_after // 60)}
            raise ValidationError(
                _("Too many failed tries. Try again in %(minutes)d min."), "throttled", wait
            ) from error
        except HashQueueFullError as error:
            self.retry_after = error.retry_after
            raise ValidationError(_("The server is busy. Try again in a moment."), "busy") from error
        if user is None:
            raise self.get_invalid_login_error()
        self.confirm_login_allowed(user)
        self.user_cache = user
        return self.cleaned_data
