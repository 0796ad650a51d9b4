"""The search for texts: however Arabic is written, in a column that every way of writing fills."""

import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client

from accounts.names import search_text
from chat.admin import search as admin_search
from chat.admin.search import NOT_FOLDED, with_words, words_of
from chat.models import Message
from chat.store import search_texts
from qader.server.startup_checks import warn_of_locale
from tests.admin import CONVERSATIONS, MESSAGES, rows, told
from tests.people import People, client_of, fill, make_user, say
from tests.queries import recorded_queries
from tests.service_results import entry, store

TEXT = "إلى مدرسةِ الأمل في ٢٠٢٦، Straße ﻣﺮﺣﺒﺎ ســلام"
FOLDED = "الي مدرسه الامل في 2026، strasse مرحبا سلام"


@pytest.fixture
def browser(people: People) -> Client:
    """An administrator's browser."""
    return client_of(people.admin)


def texts(browser: Client, term: str, **query: Any) -> list[str]:
    return [row[4] for row in rows(browser, MESSAGES, {"q": term, **query})]


@pytest.mark.parametrize(
    ("text", "folded"),
    [(TEXT, FOLDED), ("HELLO World 1", "hello world 1"), ("آأإٱىة۱", "ااااىه1"[:4] + "يه1"), ("", "")],
)
def test_a_text_is_folded_once_for_both_databases(text: str, folded: str) -> None:
    assert search_text(text) == folded
    assert search_text(folded) == folded


@pytest.mark.parametrize(
    "marks", ["\u0344" * 2000 + "\u0316" * 1999, "\u0f73\u0316" * 2000, "\u0301\uff9e" * 2000, "َِ" * 2000]
)
def test_no_text_takes_long_to_fold(marks: str) -> None:
    """Unicode sorts the marks of a letter in quadratic time, and the event loop would stand still."""
    begin = time.thread_time()
    search_text("a" + marks)
    assert time.thread_time() - begin < 0.02  # 0.2 s without a bound
    assert search_text("سلام " + "e\u0301" * 31) == "سلام " + "é" * 31


def test_a_search_text_is_not_much_longer_than_its_text() -> None:
    """One letter may stand for 18, and 72,000 took the database and us 24 ms."""
    assert len(search_text("\ufdfa" * 4000)) == 13_000
    assert search_text("محمد \ufdfa " * 40) == "محمد صلي الله عليه وسلم " * 40


def test_every_way_of_writing_fills_the_column(live_people: People) -> None:
    conversation, student = live_people.conversation, live_people.student
    say(conversation, student, TEXT)
    store([entry(conversation, student, TEXT)])
    store([entry(conversation, student, TEXT, "a"), entry(conversation, student, "again", "a")])  # the second portably
    assert list(Message.objects.values_list("search_text", flat=True)) == [FOLDED] * 3


def test_a_stored_message_is_read_without_the_column(people: People) -> None:
    say(people.conversation, people.student, "hello")
    with recorded_queries() as queries:
        message = Message.objects.with_sender().get()
        message.is_read = True
        message.save()
    assert not any("search_text" in query for query in queries), queries
    assert Message.objects.values_list("is_read", "search_text").get() == (True, "hello")


@pytest.mark.parametrize(
    "term",
    ["مدرسة الأمل", "مدرسه الامل", "مَدرسة", "الى", "إلي", "٢٠٢٦", "۲۰۲۶", "2026", "STRASSE", "straße", "سلام", "ﺳﻼم"],
)
def test_texts_are_found_however_they_are_written(people: People, browser: Client, term: str) -> None:
    say(people.conversation, people.student, TEXT, "something else")
    assert texts(browser, term) == [TEXT]


def test_all_words_must_be_there_and_quotes_keep_them_together(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "one two three", "two one", "100% of it", "100 of it", "a_b", "acb")
    assert texts(browser, "one two") == ["two one", "one two three"]
    assert texts(browser, '"one two"') == ["one two three"]
    assert texts(browser, "100%") == ["100% of it"]
    assert texts(browser, "a_b") == ["a_b"]
    assert texts(browser, '"') == texts(browser, "\u064b") == []


def test_a_search_in_one_conversation_finds_nothing_of_another(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "needle one")
    say(people.other_conversation, people.trainer, "needle two")
    assert texts(browser, "NEEDLE") == ["needle two", "needle one"]
    assert texts(browser, "needle", conversation__id__exact=people.conversation.pk) == ["needle one"]


def test_conversations_are_found_by_texts_for_those_who_may_see_them(people: People, browser: Client) -> None:
    say(people.conversation, people.student, "كتاب الرياضيات", "كتاب")
    say(people.other_conversation, people.trainer, "something else")
    wanted = [f"#{people.conversation.pk}"]
    assert [row[0] for row in rows(browser, CONVERSATIONS, {"q": "الرياضيَّات"})] == wanted
    assert [row[0] for row in rows(browser, CONVERSATIONS, {"q": "كتاب"})] == wanted
    helper = make_user("helper", None, is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename="view_conversation"))
    assert rows(client_of(helper), CONVERSATIONS, {"q": "كتاب"}) == []


def test_without_an_index_only_the_newest_messages_are_searched(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(people.conversation, people.student, "ab needle", "hay", "ab")
    monkeypatch.setattr(admin_search, "MAX_SEARCHED", 2)
    assert texts(browser, "ab") == ["ab"]  # too short for trigrams
    assert texts(browser, "needle") == (["ab needle"] if connection.vendor == "postgresql" else [])
    assert texts(browser, "ab", conversation__id__exact=people.conversation.pk) == ["ab", "ab needle"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has trigrams")
def test_a_rare_word_is_found_by_the_index(people: People) -> None:
    fill(people.conversation, 5000)
    Message.objects.update(search_text="مرحبا بالجميع")
    Message.objects.filter(seq=17).update(search_text=search_text("كلمة نادرة"))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # as a million messages would
        cursor.execute("SELECT show_trgm('نادره') <> '{}'")
        assert cursor.fetchone() == (True,)
    found = with_words(Message.objects.all(), words_of("نادرة"))
    plan = found.explain()
    assert "chat_message_search" in plan, plan
    assert [message.seq for message in found] == [17]


def test_conversations_with_the_newest_hits_are_found(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(people.conversation, people.student, "needle")
    say(people.other_conversation, people.trainer, "needle", "needle")
    monkeypatch.setattr(admin_search, "MAX_HITS", 2)
    assert [row[0] for row in rows(browser, CONVERSATIONS, {"q": "needle"})] == [f"#{people.other_conversation.pk}"]


@pytest.fixture
def database(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[BaseDatabaseWrapper]:
    """A new database with the locale of the test's parameter, and with trigrams."""
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS of_locale")
        cursor.execute(f"CREATE DATABASE of_locale TEMPLATE template0 {request.param}")
    database: BaseDatabaseWrapper = connection.copy()
    database.settings_dict["NAME"] = "of_locale"
    database.settings_dict["OPTIONS"].pop("pool", None)
    with database.cursor() as cursor:
        cursor.execute("CREATE EXTENSION pg_trgm")
    yield database
    database.close()
    with connection.cursor() as cursor:
        cursor.execute("DROP DATABASE of_locale")


LOCALES = [("LOCALE_PROVIDER libc LOCALE 'C'", True), ("LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'", False)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL has trigrams")
@pytest.mark.parametrize(("database", "is_warned"), LOCALES, indirect=["database"], ids=["C", "C.UTF-8"])
def test_a_locale_without_arabic_letters_is_named_at_the_start(
    database: BaseDatabaseWrapper, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_locale(database)
    assert ["the locale of the database knows no Arabic letters" in line for line in caplog.messages] == [
        True
    ] * is_warned


def fold() -> str:
    """Run the command and return what it says."""
    output = StringIO()
    call_command("fold_search_texts", stdout=output)
    return output.getvalue()


def test_old_messages_are_searched_after_the_command_and_until_then_the_page_says_so(
    people: People, browser: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_texts, "AT_ONCE", 2)
    say(people.conversation, people.student, *["Needle"] * 5)
    Message.objects.exclude(seq=3).update(search_text=None)
    answer = browser.get(MESSAGES, {"q": "needle"})
    assert (told(answer), len(answer.context["cl"].result_list)) == ([str(NOT_FOLDED)], 1)
    assert fold() == "4 messages can be searched now.\n"
    assert list(Message.objects.values_list("search_text", flat=True)) == ["needle"] * 5
    answer = browser.get(MESSAGES, {"q": "needle"})
    assert (told(answer), len(answer.context["cl"].result_list)) == ([], 5)
    assert fold() == "0 messages can be searched now.\n"


@pytest.mark.django_db(transaction=True)
def test_a_killed_command_keeps_its_steps_and_is_run_again(
    live_people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_texts, "AT_ONCE", 2)
    say(live_people.conversation, live_people.student, *["Needle"] * 5)
    Message.objects.update(search_text=None)

    def stop(count: int) -> None:
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_texts.fold_search_texts(told=stop)
    assert Message.objects.filter(search_text=None).count() == 1
    assert search_texts.fold_search_texts() == 1
