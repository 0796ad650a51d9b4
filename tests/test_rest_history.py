"""`.../messages/`, reading: pages, cursors, marking as read, and the cost of a page."""

from typing import Any

import pytest
from django.test import Client

from chat.models import Conversation, Message
from tests.people import People, client_of, fill, message_object, say
from tests.queries import recorded_queries
from tests.service_results import read_flags

MINE = "/api/v1/chat/my-conversation/messages/"
URL = f"http://testserver{MINE}"


@pytest.fixture
def student(people: People) -> Client:
    return client_of(people.student)


def get(client: Client, query: str = "", path: str = MINE) -> tuple[int, Any]:
    response = client.get(path + query)
    return response.status_code, response.json()


def history(people: People) -> list[dict[str, Any]]:
    """The student's conversation as the database has it, as the student sees it."""
    return [message_object(message, people.student) for message in people.conversation.messages.order_by("seq")]


def envelope(results: list[dict[str, Any]], count: int, previous: str | None, following: str | None) -> dict[str, Any]:
    return {"count": count, "next": following, "previous": previous, "results": results}


def follow(client: Client, link: str, name: str) -> list[list[int]]:
    """The ids on each page, from this one on along `next` or `previous` to the end."""
    pages: list[list[int]] = []
    while link:
        status, body = get(client, path=link)
        assert status == 200
        pages.append([message["id"] for message in body["results"]])
        link = body[name]
        assert len(pages) < 100
    return pages


def joined(pages: list[list[int]]) -> list[int]:
    return [pk for page in pages for pk in page]


# Pages.


def test_an_empty_conversation_has_one_empty_page(student: Client) -> None:
    for query in ("", "?page=1", "?page=", "?page=last", "?limit=50"):
        assert get(student, query) == (200, envelope([], 0, None, None)), query


def test_both_sides_read_the_same_messages_each_with_their_own_view(people: People) -> None:
    say(people.conversation, people.student, " one\n", "two")
    say(people.conversation, people.teacher, "😀 three")
    say(people.other_conversation, people.trainer, "theirs")
    path = f"/api/v1/chat/teacher/conversations/{people.conversation.pk}/messages/"
    for user, own_path in ((people.student, MINE), (people.teacher, path)):
        answer = get(client_of(user), path=own_path)
        rows = [message_object(message, user) for message in people.conversation.messages.order_by("seq")]
        assert answer == (200, envelope(rows, 3, None, None))
    assert [row["is_own_message"] for row in rows] == [False, False, True]
    assert [row["content"] for row in rows] == [" one\n", "two", "😀 three"]


def test_page_1_is_the_oldest_and_pages_link_to_each_other(people: People, student: Client) -> None:
    fill(people.conversation, 5)
    get(student)
    rows = history(people)
    pages = {
        "1": envelope(rows[:2], 5, None, f"{URL}?page=2&page_size=2"),
        "2": envelope(rows[2:4], 5, f"{URL}?page_size=2", f"{URL}?page=3&page_size=2"),
        "3": envelope(rows[4:], 5, f"{URL}?page=2&page_size=2", None),
    }
    assert get(student, "?page_size=2") == (200, pages["1"])
    for page, expected in (pages | {"last": pages["3"]}).items():
        assert get(student, f"?page_size=2&page={page}") == (200, expected), page


def test_a_full_last_page_has_no_next_page(people: People, student: Client) -> None:
    fill(people.conversation, 4)
    get(student)
    expected = (200, envelope(history(people)[2:], 4, f"{URL}?page_size=2", None))
    assert get(student, "?page_size=2&page=2") == get(student, "?page_size=2&page=last") == expected
    assert get(student, "?page_size=2&page=3") == (404, {"detail": "Invalid page.", "code": "page_not_found"})


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ("", 50),
        ("page_size=200", 200),
        ("page_size=201", 200),
        ("page_size=" + "9" * 18, 200),
        ("page_size=0", 50),
        ("page_size=-1", 50),
        ("page_size=many", 50),
        ("page_size=%00", 50),
        ("limit=200", 200),
        ("limit=201", 200),
    ],
)
def test_a_page_has_50_messages_unless_asked_and_200_at_most(
    people: People, student: Client, query: str, size: int
) -> None:
    fill(people.conversation, 201)
    assert len(get(student, f"?{query}")[1]["results"]) == size


@pytest.mark.parametrize("page", ["0", "2", "-1", "junk", "1.5", "%00", "%ff", "%D9%A1", "9" * 30, "9" * 5000])
def test_a_page_that_does_not_exist_is_not_found_and_marks_nothing(people: People, student: Client, page: str) -> None:
    say(people.conversation, people.teacher, "one")
    assert get(student, f"?page={page}") == (404, {"detail": "Invalid page.", "code": "page_not_found"})
    assert read_flags(people.conversation) == "-"


def test_the_pages_together_have_every_message_once(people: People, student: Client) -> None:
    ids = [message.pk for message in fill(people.conversation, 23)]
    assert joined(follow(student, f"{MINE}?page_size=5", "next")) == ids
    backwards = follow(student, f"{MINE}?page_size=5&page=last", "previous")
    assert joined(backwards[::-1]) == ids


def test_erased_messages_leave_gaps_and_move_no_page(people: People, student: Client) -> None:
    messages = fill(people.conversation, 9)
    Message.objects.filter(seq__in=[1, 4, 5, 6]).delete()
    ids = [[messages[seq - 1].pk for seq in page] for page in ([2, 3], [], [7, 8, 9])]
    assert follow(student, f"{MINE}?page_size=3", "next") == ids
    rows = history(people)
    assert get(student, "?page_size=3&page=3") == (200, envelope(rows[2:], 9, f"{URL}?page=2&page_size=3", None))


# Cursors.


def test_limit_alone_gives_the_newest_oldest_first(people: People, student: Client) -> None:
    fill(people.conversation, 5)
    get(student)
    rows = history(people)
    older = f"{URL}?before={rows[3]['id']}&limit=2"
    assert get(student, "?limit=2") == (200, envelope(rows[3:], 5, older, None))
    assert get(student, "?limit=5") == (200, envelope(rows, 5, None, None))


def test_before_and_after_give_the_messages_next_to_one(people: People, student: Client) -> None:
    fill(people.conversation, 9)
    get(student)
    rows = history(people)
    middle = rows[4]["id"]
    before = envelope(rows[2:4], 9, f"{URL}?before={rows[2]['id']}&limit=2", f"{URL}?after={rows[3]['id']}&limit=2")
    assert get(student, f"?before={middle}&limit=2") == (200, before)
    after = envelope(rows[5:7], 9, f"{URL}?before={rows[5]['id']}&limit=2", f"{URL}?after={rows[6]['id']}&limit=2")
    assert get(student, f"?after={middle}&limit=2") == (200, after)


def test_a_cursor_without_limit_means_50(people: People, student: Client) -> None:
    ids = [message.pk for message in fill(people.conversation, 120)]
    for query, expected in ((f"?after={ids[0]}", ids[1:51]), (f"?before={ids[-1]}", ids[69:119])):
        assert [message["id"] for message in get(student, query)[1]["results"]] == expected


def test_there_is_nothing_before_the_first_or_after_the_last_message(people: People, student: Client) -> None:
    first, *_, last = fill(people.conversation, 3)
    assert get(student, f"?before={first.pk}&limit=2") == (200, envelope([], 3, None, None))
    assert get(student, f"?after={last.pk}&limit=2") == (200, envelope([], 3, None, None))


@pytest.mark.parametrize("limit", [1, 5, 22, 23, 24])
def test_the_links_lead_over_every_message_once_in_both_directions(people: People, student: Client, limit: int) -> None:
    ids = [message.pk for message in fill(people.conversation, 23)]
    backwards = follow(student, f"{MINE}?limit={limit}", "previous")
    assert joined(backwards[::-1]) == ids
    forwards = follow(student, f"{MINE}?after={ids[0]}&limit={limit}", "next")
    assert joined(forwards) == ids[1:]
    assert all(len(page) == limit for page in [*backwards[:-1], *forwards[:-1]])


def test_following_links_back_returns_to_the_start(people: People, student: Client) -> None:
    fill(people.conversation, 9)
    get(student)
    newest = get(student, "?limit=3")
    older = get(student, path=newest[1]["previous"])
    forth = get(student, path=older[1]["next"])
    assert forth[1]["results"] == newest[1]["results"]
    assert get(student, path=forth[1]["previous"]) == older


def test_erased_messages_are_skipped_by_cursors(people: People, student: Client) -> None:
    messages = fill(people.conversation, 12)
    kept = [message.pk for message in messages if message.seq not in {1, 4, 5, 6, 7, 12}]
    Message.objects.exclude(pk__in=kept).delete()
    assert follow(student, f"{MINE}?limit=2", "previous") == [kept[4:], kept[2:4], kept[:2]]
    assert follow(student, f"{MINE}?after={kept[0]}&limit=2", "next") == [kept[1:3], kept[3:5], kept[5:]]
    assert get(student, "?limit=2")[1]["next"] is None


def test_a_cursor_works_although_its_message_is_erased(people: People, student: Client) -> None:
    """So do the links that lead to it: it stands where it would stand."""
    messages = fill(people.conversation, 12)
    ids = [message.pk for message in messages]
    page = get(student, f"?before={ids[9]}&limit=3")[1]
    gone = {1, 4, 7, 9, 12}
    Message.objects.filter(seq__in=gone).delete()
    kept = [pk for seq, pk in enumerate(ids, 1) if seq not in gone]
    assert [row["id"] for row in page["results"]] == ids[6:9]
    assert follow(student, page["previous"], "previous") == [[ids[2], ids[4], ids[5]], [ids[1]]]
    assert follow(student, page["next"], "next") == [[ids[9], ids[10]]]
    for seq in gone:
        for limit in (1, 3, 12):
            before = follow(student, f"{MINE}?before={ids[seq - 1]}&limit={limit}", "previous")
            after = follow(student, f"{MINE}?after={ids[seq - 1]}&limit={limit}", "next")
            assert [*joined(before[::-1]), *joined(after)] == kept, (seq, limit)
    envelopes = [get(student, f"?{cursor}&limit=9")[1] for cursor in (f"before={ids[11]}", f"after={ids[0]}")]
    assert [(body["count"], body["previous"], body["next"]) for body in envelopes] == [(12, None, None)] * 2


def test_a_cursor_works_when_every_message_is_erased(people: People, student: Client) -> None:
    first, last = fill(people.conversation, 2)
    Message.objects.all().delete()
    for cursor in (f"before={first.pk}", f"after={first.pk}", f"before={last.pk}", f"after={last.pk}"):
        assert get(student, f"?{cursor}") == (200, envelope([], 2, None, None))


def test_the_place_of_an_erased_message_is_found_in_few_steps(people: People, student: Client) -> None:
    messages = fill(people.conversation, 1000)
    erased = messages[500].pk
    messages[500].delete()
    with recorded_queries() as queries:
        assert get(student, f"?mark_read=false&before={erased}&limit=1")[0] == 200
    assert len([query for query in queries if "chat_message" in query]) <= 3 + 10 + 2  # 2^10 > 1000


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize(
    "cursor", ["foreign", "never", "junk", "", "0", "-1", "1.0", "%00", "%ff", "9" * 19, "9" * 5000]
)
def test_a_cursor_that_is_no_message_of_the_conversation_is_refused(
    people: People, student: Client, name: str, cursor: str
) -> None:
    say(people.conversation, people.teacher, "one", "two")
    (foreign,) = say(people.other_conversation, people.trainer, "theirs")
    ids = {"foreign": foreign.pk, "never": foreign.pk + 1}
    expected = {name: ["No such message in this conversation."], "code": "message_not_found"}
    assert get(student, f"?{name}={ids.get(cursor, cursor)}") == (400, expected)
    assert read_flags(people.conversation) == "--"


@pytest.mark.parametrize("limit", ["0", "-1", "junk", "", "1.5", "%00", "9" * 30])
def test_a_limit_that_is_no_positive_number_is_refused(student: Client, limit: str) -> None:
    assert get(student, f"?limit={limit}") == (
        400,
        {"limit": ["A positive number is expected."], "code": "invalid_parameter"},
    )


def test_before_and_after_together_are_refused(people: People, student: Client) -> None:
    first, _, last = fill(people.conversation, 3)
    expected = {"after": ["Either before or after, not both."], "code": "invalid_parameter"}
    assert get(student, f"?after={first.pk}&before={last.pk}") == (400, expected)


# Marking as read.


@pytest.mark.parametrize(
    "query", ["", "?page_size=1", "?limit=1", "?mark_read=true", "?mark_read=1", "?mark_read=TRUE"]
)
def test_reading_any_page_marks_all_that_the_other_side_sent(people: People, student: Client, query: str) -> None:
    fill(people.conversation, 6)
    before = [row["id"] for row in history(people) if row["is_read"]]
    status, body = get(student, query)
    assert (status, before) == (200, [])
    assert read_flags(people.conversation) == "-R-R-R"
    shown = {message["id"] for message in body["results"]}
    assert body["results"] == [row for row in history(people) if row["id"] in shown]
    assert Conversation.objects.values_list("student_read_seq", "teacher_read_seq").get(pk=people.conversation.pk) == (
        6,
        0,
    )


@pytest.mark.parametrize("value", ["false", "0", "False", "FALSE"])
def test_mark_read_false_reads_without_marking_and_stays_in_the_links(
    people: People, student: Client, value: str
) -> None:
    fill(people.conversation, 6)
    rows = history(people)
    status, body = get(student, f"?mark_read={value}&page_size=2&page=2")
    links = f"{URL}?mark_read={value}&page_size=2", f"{URL}?mark_read={value}&page=3&page_size=2"
    assert (status, body) == (200, envelope(rows[2:4], 6, *links))
    follow(student, f"{MINE}?mark_read={value}&limit=2", "previous")
    assert read_flags(people.conversation) == "------"


@pytest.mark.parametrize("value", ["junk", "", "no", "%00", "2"])
def test_a_mark_read_that_is_neither_true_nor_false_is_refused_and_marks_nothing(
    people: People, student: Client, value: str
) -> None:
    say(people.conversation, people.teacher, "one")
    assert get(student, f"?mark_read={value}") == (
        400,
        {"mark_read": ["true or false is expected."], "code": "invalid_parameter"},
    )
    assert read_flags(people.conversation) == "-"


def test_unknown_parameters_are_ignored_and_kept_in_links(people: People, student: Client) -> None:
    fill(people.conversation, 2)
    status, body = get(student, "?page_size=1&x=%00%ff&y=1")
    assert status == 200
    assert body["next"] == f"{URL}?page=2&page_size=1&x=%00%EF%BF%BD&y=1"
    assert get(student, path=body["next"])[0] == 200


# Cost.


def test_a_page_costs_three_queries_and_two_more_to_mark_unread(people: People, student: Client) -> None:
    ids = [message.pk for message in fill(people.conversation, 250)]
    pages = ["", "?page=3", "?page=5", "?page=last", "?limit=50"]
    cursors = [f"?{name}={pk}&limit=50" for name in ("before", "after") for pk in (ids[0], ids[125], ids[-1])]
    costs: dict[str, tuple[int, int]] = {}
    for query in [*pages, *cursors]:
        Message.objects.update(is_read=False)
        with recorded_queries() as unread:
            get(student, query)
        with recorded_queries() as read:
            get(student, query)
        costs[query] = len(unread), len(read)
    besides = 2  # session and user
    assert costs == dict.fromkeys(pages, (besides + 5, besides + 3)) | dict.fromkeys(
        cursors, (besides + 6, besides + 4)
    )


PREVIEWS = [
    {"Sec-Purpose": "prefetch"},
    {"Sec-Purpose": "prefetch;prerender"},
    {"Sec-Purpose": " Prefetch ; anonymous-client-ip"},
    {"Purpose": "prefetch"},
    {"X-Purpose": "preview"},
    {"X-Moz": "prefetch"},
]


@pytest.mark.parametrize("headers", PREVIEWS)
def test_what_is_fetched_before_anybody_asks_for_it_marks_nothing(
    people: People, student: Client, headers: dict[str, str]
) -> None:
    say(people.conversation, people.teacher, "one")
    for query in ("", "?mark_read=true", "?limit=1"):
        response = student.get(URL + query, headers=headers)
        assert (response.status_code, len(response.json()["results"])) == (200, 1)
    assert read_flags(people.conversation) == "-"


def test_head_marks_nothing(people: People, student: Client) -> None:
    say(people.conversation, people.teacher, "one")
    teacher = client_of(people.teacher)
    say(people.conversation, people.student, "two")
    assert student.head(URL).status_code == 200
    assert teacher.head(f"/api/v1/chat/teacher/conversations/{people.conversation.pk}/messages/").status_code == 200
    assert read_flags(people.conversation) == "--"


@pytest.mark.parametrize("path", ["/api/v1/chat/my-conversation/", "/api/v1/chat/my-conversation/messages/"])
def test_head_and_previews_make_no_conversation(people: People, student: Client, path: str) -> None:
    assert student.head(path).status_code == 404
    for headers in PREVIEWS:
        response = student.get(path, headers=headers)
        assert (response.status_code, response.json()["code"]) == (404, "conversation_not_found")
    assert not Conversation.objects.exists()
    assert student.get(path, headers={"Sec-Purpose": "other"}).status_code == 200
    assert student.head(path).status_code == 200
