"""Absurd parameters in the admin: an empty list or the admin's own error page, never a server error."""

import random
from typing import Any

import pytest
from django.contrib import admin
from django.core.paginator import Paginator
from django.db import OperationalError
from django.db.models import Field
from django.test import Client
from django.urls import reverse

from accounts.admin_base import MAX_WORDS
from tests.people import People, client_of, say
from tests.queries import recorded_queries

pytestmark = pytest.mark.slow

HUGE = "9" * 30
VALUES = [
    *(
        "",
        "0",
        "-1",
        "13",
        "99999999",
        HUGE,
        "-" + HUGE,
        "9" * 5000,
        "1e400",
        "NaN",
        "٣",
        "abc",
        "1,2",
        ",",
        "\0",
        "a\0b",
    ),
    *("2026-13-45", "0000-00-00", "99999-01-01 00:00:00+00:00", "9999-12-31 23:59:59-23:59", "(", "[", "\\", "%"),
]
LOOKUPS = [
    *("exact", "in", "gt", "lt", "gte", "isnull", "range", "contains", "icontains", "regex", "iregex", "startswith"),
    *("year", "month", "day", "date", "time", "hour", "week", "week_day", "iso_year", "quarter", "isempty", "nonsense"),
    *("year__gt", "year__in", "date__gt", "date__year", "year__regex", "month__lt", "exact__exact", "pk", "unaccent"),
]
OWN = [
    "o",
    "e",
    "p",
    "all",
    "q",
    "_popup",
    "_to_field",
    "_facets",
    "nonsense",
    "_changelist_filters",
    "is_read",
    "pk__in",
]
ADMINS = {model._meta.label_lower: model_admin for model, model_admin in admin.site._registry.items()}


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser, and something to find."""
    say(people.conversation, people.student, "hello")
    return client_of(people.admin)


def url_of(label: str, page: str = "changelist", *args: Any) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_{page}", args=args)


def check(answer: Any, asked: Any) -> None:
    """An answer of the admin's own, and no redirect that leads elsewhere."""
    assert answer.status_code in {200, 302, 400, 403, 404, 405}, (answer.status_code, asked)


@pytest.mark.parametrize("label", ADMINS)
def test_no_filter_of_a_list_is_a_server_error(browser: Client, label: str) -> None:
    model = ADMINS[label].model
    names = [field.name for field in model._meta.get_fields() if isinstance(field, Field)]
    keys = [f"{name}__{lookup}" for name in [*names, "id", "user", "conversation__id"] for lookup in LOOKUPS]
    asked = [(key, value) for key in [*names, *keys] for value in VALUES]
    asked += [(key, value) for key in OWN for value in VALUES]
    for key, value in random.Random(16).sample(asked, 80):  # all of them would take minutes
        check(browser.get(url_of(label), {key: value}), (label, key, value))


@pytest.mark.parametrize(
    ("label", "query"),
    [
        ("chat.message", {"timestamp__year": "99999999"}),
        ("chat.message", {"timestamp__year": "0"}),
        ("chat.message", {"timestamp__date__gt": "0000-00-00", "is_read__exact": "1"}),
        ("chat.message", {"timestamp__month": "13"}),
        ("chat.message", {"id__exact": HUGE}),
        ("chat.message", {"seq__in": f"7,{HUGE}"}),
        ("chat.message", {"client_id__range": "a"}),
        ("chat.message", {"client_id__exact": "a\0b"}),
        ("chat.message", {"nonsense": "1"}),
        ("chat.message", {"is_read__nonsense": "1"}),
        ("accounts.user", {"profile__assigned_mentor__isempty": "7"}),
        ("chat.conversation", {"updated_at__year__gt": HUGE}),
        ("accounts.user", {"date_joined__year": "0"}),
        ("accounts.user", {"username__exact": "\0"}),
        ("accounts.userprofile", {"full_name__range": "a"}),
        ("auth.group", {"name__exact": "\0"}),
    ],
)
def test_a_filter_that_nothing_can_match_shows_an_empty_list(
    browser: Client, label: str, query: dict[str, str]
) -> None:
    response = browser.get(url_of(label), query, follow=True)
    assert (response.status_code, list(response.context["cl"].result_list)) == (200, [])


@pytest.mark.parametrize("label", ADMINS)
def test_a_search_of_too_many_words_finds_nothing_and_costs_nothing(browser: Client, label: str) -> None:
    def found(words: int) -> tuple[int, int]:
        with recorded_queries() as queries:
            response = browser.get(url_of(label), {"q": "a " * words})
        return response.status_code, max(len(query) for query in queries)

    (allowed, longest), (refused, longest_of_many) = found(MAX_WORDS), found(7000)
    assert (allowed, refused) == (200, 200)
    assert longest_of_many <= longest
    assert list(browser.get(url_of(label), {"q": "a " * (MAX_WORDS + 1)}).context["cl"].result_list) == []


def test_a_failing_database_is_not_taken_for_an_absurd_filter(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(Paginator, "count", property(fail))
    browser.raise_request_exception = False
    assert browser.get(url_of("accounts.user"), {"is_staff__exact": "1"}).status_code == 503


@pytest.mark.parametrize("label", ADMINS)
def test_no_id_of_an_object_is_a_server_error(browser: Client, label: str) -> None:
    for value in ("abc", "0", "-1", HUGE, "9" * 5000, "a\0b", "%00", "_00", "1_2F", "../1"):
        for page in ("change", "delete", "history"):
            for method in (browser.get, browser.post):
                check(method(url_of(label, page, value)), (label, page, value))
    for value in ("abc", HUGE, "\0"):
        for action in ("delete_selected", "deactivate", "nonsense", ""):
            posted = {"action": action, "_selected_action": [value], "post": "yes"}
            check(browser.post(url_of(label), posted), (label, action, value))
        for index in ("abc", HUGE, "-5"):
            check(browser.post(url_of(label), {"action": "deactivate", "index": index}), (label, index))


def test_no_search_for_a_mentor_is_a_server_error(browser: Client) -> None:
    for value in VALUES:
        for key in ("term", "page", "app_label", "model_name", "field_name"):
            fields = {"app_label": "accounts", "model_name": "userprofile", "field_name": "assigned_mentor"}
            check(browser.get("/admin/autocomplete/", fields | {key: value}), (key, value))
