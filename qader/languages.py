"""The language that people read the page and the admin in: their cookie's, else their browser's."""

from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware import locale
from django.utils import translation
from django.utils.translation.trans_real import DjangoTranslation
from django.views.i18n import JSONCatalog

WIRE = "/api/"  # what is answered below it is read by programs


class LocaleMiddleware(locale.LocaleMiddleware):
    """Django's own, but for REST, which answers in English; needs no thread, since all it looks at is the request."""

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer in the language of the request."""
        self.process_request(request)
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        return self.process_response(request, response)

    def process_request(self, request: HttpRequest) -> None:
        """Choose the language."""
        if not request.path_info.startswith(WIRE):
            return super().process_request(request)
        translation.activate(settings.LANGUAGE_CODE)
        request.LANGUAGE_CODE = settings.LANGUAGE_CODE
        return None

    def process_response(self, request: HttpRequest, response: Any) -> HttpResponseBase:
        """Say which language it was."""
        if not request.path_info.startswith(WIRE):
            response = super().process_response(request, response)
        answered: HttpResponseBase = response
        return answered


@cache
def script_texts(language: str) -> dict[str, Any]:
    """What the page's scripts say in this language, by what they say in English; plural forms are lists."""
    catalog = JSONCatalog()
    catalog.translation = DjangoTranslation(
        language, domain="djangojs", localedirs=[str(path) for path in settings.LOCALE_PATHS]
    )
    return {"language": language, "catalogue": catalog.get_catalog()}
