"""The language of the page and the admin: the one in the cookie, otherwise the browser's."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import locale
from django.utils import translation
from django.utils.translation.trans_real import DjangoTranslation
from django.views.i18n import JSONCatalog

from qader.http.api import API_PREFIX


class LocaleMiddleware(locale.LocaleMiddleware):
    """Django's own, except that REST answers in English."""

    def process_request(self, request: HttpRequest) -> None:
        """Activate the language."""
        if not request.path_info.startswith(API_PREFIX):
            return super().process_request(request)
        translation.activate(settings.LANGUAGE_CODE)
        request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        return None

    def process_response(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        """Set the headers that name the language."""
        if not request.path_info.startswith(API_PREFIX):
            response = super().process_response(request, response)
        answered: HttpResponseBase = response
        return answered


@cache
def script_texts(language: str) -> dict[str, Any]:
    """Return the translations for the page's scripts, by English text; plural forms are lists."""
    catalog = JSONCatalog()
    catalog.translation = DjangoTranslation(
        language, domain="djangojs", localedirs=[str(path) for path in settings.LOCALE_PATHS]
    )
    return {"language": language, "catalogue": catalog.get_catalog()}
