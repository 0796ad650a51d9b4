"""Lists of the admin on a large table: no statement reads all of it."""

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from chat.admin import audit as admin_audit
from chat.admin import search as admin_search
from chat.models import AuditEntry, Message
from tests.admin import CONVERSATIONS, MESSAGES
from tests.people import People, client_of, fill
from tests.queries import recorded_queries
from tests.test_audit import ENTRIES

MANY = 6_000
LISTED, SEARCHED = 200, 400

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL says what a statement reads"),
]


@pytest.fixture
def browser(people: People, monkeypatch: pytest.MonkeyPatch) -> Client:
    """An administrator's browser, with lists and searches that are small beside the tables."""
    monkeypatch.setattr(admin_audit, "MAX_LISTED", LISTED)
    monkeypatch.setattr(admin_search, "MAX_SEARCHED", SEARCHED)
    fill(people.conversation, MANY)
    Message.objects.update(search_text="مرحبا بالجميع", is_read=True)
    Message.objects.filter(seq__in=[17, 5_900]).update(search_text="كلمه نادره")
    AuditEntry.objects.bulk_create(
        [AuditEntry(actor_id=people.admin.pk, action="opened", conversation_id=n) for n in range(MANY)], 5000
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return client_of(people.admin)


def rows_read(sql: str) -> int:
    """Return the most rows that a part of this statement's plan reads, those that a filter drops included."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        [(found,)] = cursor.fetchall()

    def most(node: dict[str, Any]) -> int:
        read = (
            node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        )
        parts = (most(part) for part in node.get("Plans", ()))
        return max(int(read * node["Actual Loops"]), *parts, 0)

    return most(found[0]["Plan"])


READ = {
    MESSAGES: LISTED,
    f"{MESSAGES}?p=2": LISTED,
    f"{MESSAGES}?q=نادرة": 20,
    f"{MESSAGES}?q=مرحبا": LISTED + 100,
    f"{MESSAGES}?q=زز": SEARCHED,
    f"{CONVERSATIONS}?q=نادرة": 10,
    ENTRIES: 1000,  # a name for each entry, of six people
    f"{ENTRIES}?action__exact=exported": 10,
    f"{ENTRIES}?conversation_id__exact=77": 10,
    f"{ENTRIES}?q=admin": 1000,
}


def test_no_list_reads_more_than_it_can_show(browser: Client) -> None:
    table = re.compile(r'^SELECT.*FROM "chat_(message|auditentry)"', re.DOTALL)
    read = {}
    for path in READ:
        with recorded_queries() as queries:
            assert browser.get(path).status_code == 200
        asked = [query for query in queries if table.match(query) and 'created_at" >' not in query]
        read[path] = max(rows_read(query) for query in asked)
    assert {path: count for path, count in read.items() if count > READ[path]} == {}
