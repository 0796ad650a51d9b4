"""Pages are in Arabic for Arabic readers; REST and its documents are always in English."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from babel import Locale
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import translation
from django.utils.translation import ngettext

from accounts.models import User
from qader.http.languages import script_texts
from tests.people import PASSWORD

FORMS = ["zero", "one", "two", "few", "many", "other"]  # as gettext counts them, and the page's texts.js


@pytest.fixture(autouse=True)
def _own_language() -> Iterator[None]:
    """A request leaves its language to the thread."""
    with translation.override("en"):
        yield


@pytest.fixture
def catalogues(tmp_path: Path, settings: Any) -> Path:
    """A copy of locale/ in which things may go wrong."""
    shutil.copytree(settings.LOCALE_PATHS[0], tmp_path / "locale")
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    return tmp_path / "locale/ar/LC_MESSAGES"


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_everything_is_translated() -> None:
    call_command("translations", check=True)


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (("django", 'msgstr "كلمة المرور"', 'msgstr ""'), "django.po: 'Password' is not translated"),
        (("django", 'msgid "Password"', 'msgid "Pass word"'), "django.po: 'Pass word' is not said any more"),
        (("django", 'msgid "Password"', '#, fuzzy\nmsgid "Password"'), "django.po: 'Password' is not translated"),
        (("django", "%(minutes)d د", "د"), "has other values in it"),
        (("djangojs", "انتظار: {duration}", "بانتظار الرد: {time}"), "has other values in it"),
        (("djangojs", "قيد الإرسال", "تُرسَل"), "djangojs.mo: is not made from djangojs.po"),
    ],
)
def test_missing_and_stale_translations_are_named(
    catalogues: Path, capsys: pytest.CaptureFixture[str], edit: tuple[str, str, str], fault: str
) -> None:
    domain, old, new = edit
    change(catalogues / f"{domain}.po", old, new)
    with pytest.raises(CommandError, match="make generate"):
        call_command("translations", check=True)
    assert fault in capsys.readouterr().err


def test_generating_keeps_translations_and_drops_unused_ones(catalogues: Path) -> None:
    before = {file.name: file.read_bytes() for file in catalogues.iterdir()}
    change(catalogues / "django.po", 'msgid "Password"', 'msgid "Pass word"\nmsgstr "x"\n\nmsgid "Password"')
    (catalogues / "djangojs.mo").unlink()
    call_command("translations")
    assert {file.name: file.read_bytes() for file in catalogues.iterdir()} == before


def test_plural_forms_are_counted_as_the_page_counts_them() -> None:
    plural = Locale("ar").plural_form
    texts = script_texts("ar")["catalogue"]["{count} new message"]
    with translation.override("ar"):
        for number in range(301):
            form = FORMS.index(plural(number))
            assert (
                ngettext("%d user activated.", "%d users activated.", number)
                == [
                    "لم يُفعَّل أي مستخدم (%d).",
                    "فُعّل مستخدم واحد (%d).",
                    "فُعّل مستخدمان (%d).",
                    "فُعّل %d مستخدمين.",
                    "فُعّل %d مستخدمًا.",
                    "فُعّل %d مستخدم.",
                ][form]
            )
    assert texts[FORMS.index("few")] == "{count} رسائل جديدة"
    assert len(texts) == len(FORMS)


def test_english_needs_no_catalogue() -> None:
    assert script_texts("en") == {"language": "en", "catalogue": {}}


@pytest.mark.django_db
def test_rest_and_its_documents_are_always_in_english(client: Client) -> None:
    for path, status in (("/api/v1/auth/me/", 401), ("/api/v1/nothing/", 404), ("/api/schema/", 200)):
        answers = [client.get(path, headers={"accept-language": language}) for language in ("ar", "en")]
        assert [answer.status_code for answer in answers] == [status, status]
        assert answers[0].content == answers[1].content
        assert "Content-Language" not in answers[0].headers


@pytest.mark.django_db
def test_the_admin_is_in_arabic_for_arabic_readers(client: Client) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    client.login(username="root", password=PASSWORD)
    for path, text in {
        "/admin/": "الحسابات",
        "/admin/accounts/user/": "الدور",
        "/admin/accounts/userprofile/add/": "المرشد المعيَّن",
        "/admin/chat/conversation/": "المحادثات",
        "/admin/chat/message/": "الرسائل",
    }.items():
        page = client.get(path, headers={"accept-language": "ar"}).content.decode()
        assert '<html lang="ar" dir="rtl"' in page
        assert text in page


@pytest.mark.django_db
def test_the_language_of_the_admin_can_be_switched(client: Client) -> None:
    page = client.get("/admin/login/", headers={"accept-language": "en"}).content.decode()
    assert 'action="/i18n/setlang/"' in page
    assert 'value="ar" lang="ar">العربيّة' in page
    answer = client.post("/i18n/setlang/", {"language": "ar", "next": "/admin/login/"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/")
    assert '<html lang="ar" dir="rtl"' in client.get("/admin/login/").content.decode()
