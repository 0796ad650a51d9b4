"""Conversations and people are exported whole, in files that spreadsheets and `sha256sum` read."""

import csv
import io
import json
import sqlite3
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User, UserProfile
from chat.errors import UnavailableError
from chat.models import Conversation, LastSeen, Message
from chat.moderation import export as export_module
from chat.moderation.erasure import erase_person
from chat.moderation.export import COLUMNS, export_of_conversations, export_of_person, export_parts, shown_cell, stream
from chat.moderation.reports import report_message
from notices.models import PushSubscription
from tests.people import (
    People,
    conversation_object,
    conversation_of,
    fill,
    message_object,
    profile_object,
    say,
    session_cookie,
)

FILES = ["messages.json", "messages.csv", "SHA256SUMS"]


def exported(tmp_path: Path, *options: Any) -> dict[str, bytes]:
    """Run the command; return the files by their names."""
    file = tmp_path / "export.zip"
    call_command("export_chat", *options, "--out", file, stdout=io.StringIO())
    assert file.stat().st_mode & 0o777 == 0o600
    with ZipFile(file) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_conversation_is_exported_with_all_its_messages(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "MESSAGES_PER_PAGE", 2)
    conversation = people.conversation
    messages = [
        *say(conversation, people.student, "Is it on Sunday?"),
        *say(conversation, people.teacher, 'On "Monday", \nat 10; see =you'),
        *say(conversation, people.student, "شكرا"),
    ]
    say(people.other_conversation, people.trainer, "of others")
    files = exported(tmp_path, "--conversation", conversation.pk)
    assert list(files) == FILES
    last = messages[-1]
    shown = conversation_object(conversation, people.student, last=last, unread=1)
    objects = [message_object(message, people.student) for message in messages]
    assert json.loads(files["messages.json"]) == {"person": None, "conversations": [shown | {"messages": objects}]}
    assert files["messages.csv"].startswith(b"\xef\xbb\xbf")
    header, *rows = table(files["messages.csv"])
    assert header == list(COLUMNS)
    assert rows == [
        [
            str(conversation.pk),
            str(message.pk),
            message.timestamp.isoformat(),
            str(message.sender_id),
            message.sender.profile.full_name,
            message.sender.profile.role,
            "False",
            "False",
            message.content,
        ]
        for message in messages
    ]


def test_the_standard_output_may_take_the_file(people: People, capfdbinary: Any) -> None:
    say(people.conversation, people.student, "hello")
    err = io.StringIO()
    call_command("export_chat", "--user", "student", "--out", "-", stderr=err)
    with ZipFile(io.BytesIO(capfdbinary.readouterr().out)) as archive:
        assert archive.namelist() == FILES
    assert err.getvalue() == "Exported 1 messages of 1 conversations.\n"


def test_the_command_says_what_it_has_written(people: People, tmp_path: Path) -> None:
    say(people.conversation, people.student, "hello")
    file, out = tmp_path / "export.zip", io.StringIO()
    file.write_text("of yesterday")
    call_command("export_chat", "--user", "student", "--out", file, stdout=out)
    size = file.stat().st_size
    assert out.getvalue() == f"Exported 1 messages of 1 conversations to {file} ({size} bytes).\n"
    assert list(tmp_path.iterdir()) == [file]


def test_the_checksums_are_those_of_the_files(people: People, tmp_path: Path) -> None:
    say(people.conversation, people.student, "hello")
    files = exported(tmp_path, "--user", "student")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"messages.json: OK\nmessages.csv: OK\n"


def test_a_person_is_exported_with_former_conversations(people: People, tmp_path: Path) -> None:
    former = conversation_of(people.student, people.trainer)
    [old] = say(former, people.trainer, "then")
    [new] = say(people.conversation, people.student, "now")
    say(people.other_conversation, people.trainer, "of others")
    report, _ = report_message(user=people.student, message_id=old.pk, body={"reason": "not right"})
    report_message(user=people.teacher, message_id=new.pk, body={})  # of which the student is not told
    LastSeen.objects.create(user=people.student, at=timezone.now())
    session = Session.objects.get(session_key=session_cookie(people.student))
    device = PushSubscription(user=people.student, session=session, endpoint="https://fcm.googleapis.com/send/secret")
    device.save()
    device.refresh_from_db()
    person = json.loads(exported(tmp_path, "--user", "student")["messages.json"])
    seen = LastSeen.objects.get(user=people.student).at

    def moment(at: Any) -> str | None:
        return at and at.isoformat().replace("+00:00", "Z")

    assert person == {
        "person": {
            "id": people.student.pk,
            "username": "student",
            "email": "student@example.com",
            "profile": profile_object(people.student),
            "mentor": profile_object(people.teacher),
            "is_locked": False,
            "language": None,
            "notify_push": True,
            "notify_email": True,
            "devices": [{"push_service": "fcm.googleapis.com", "saved_at": moment(device.saved_at)}],
            "is_active": True,
            "date_joined": moment(people.student.date_joined),
            "last_login": moment(User.objects.get(pk=people.student.pk).last_login),
            "last_seen": moment(seen),
            "reports": [
                {
                    "id": report.pk,
                    "message": old.pk,
                    "state": "open",
                    "created_at": moment(report.created_at),
                    "conversation": former.pk,
                    "reason": "not right",
                }
            ],
        },
        "conversations": [
            conversation_object(former, people.student, last=old, unread=1, is_active=False)
            | {"messages": [message_object(old, people.student)]},
            conversation_object(people.conversation, people.student, last=new)
            | {"messages": [message_object(new, people.student)]},
        ],
    }


def test_a_mentor_and_somebody_without_a_profile_are_exported(people: People, tmp_path: Path) -> None:
    say(people.conversation, people.student, "hello")
    found = json.loads(exported(tmp_path, "--user", "teacher")["messages.json"])
    assert [row["unread_message_count_for_user"] for row in found["conversations"]] == [1]
    assert found["person"]["mentor"] is None
    found = json.loads(exported(tmp_path, "--user", "admin")["messages.json"])
    assert (found["person"]["profile"], found["conversations"]) == (None, [])


def test_nothing_of_an_erased_person_is_exported_but_their_number_and_role(people: People, tmp_path: Path) -> None:
    say(people.conversation, people.student, "our secret")
    say(people.conversation, people.teacher, "answer")
    assert erase_person(person=people.student, by=None)
    files = exported(tmp_path, "--conversation", people.conversation.pk)
    for content in files.values():
        assert not any(secret in content for secret in (b"our secret", b"Student", b"student@"))
    rows = table(files["messages.csv"])[1:]
    assert [row[3:] for row in rows] == [
        [str(people.student.pk), "", "STUDENT", "False", "True", ""],
        [str(people.teacher.pk), "Teacher", "TEACHER", "False", "False", "answer"],
    ]


@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "＝1", "＋1", "－1", "＠A"]
)
def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(
    people: People, tmp_path: Path, start: str
) -> None:
    UserProfile.objects.filter(user=people.student).update(full_name=start)
    say(people.conversation, people.student, start, f"x, {start.strip()}")
    rows = table(exported(tmp_path, "--user", "student")["messages.csv"])[1:]
    assert [(row[4], row[8]) for row in rows] == [(f"'{start}", f"'{start}"), (f"'{start}", f"x, {start.strip()}")]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x;=1+1", "x;'=1+1"),
        ('x; "=1+1"', 'x;\' "=1+1"'),
        ("x\t@SUM(A1);+1", "x\t'@SUM(A1);'+1"),
        ("x\r\n-1", "x\r'\n'-1"),
        ("x;1", "x;1"),
    ],
)
def test_what_begins_a_cell_in_another_spreadsheet_is_not_run_there(text: str, shown: str) -> None:
    assert shown_cell(text) == shown


@pytest.mark.parametrize("text", ["", "hello", "١+١", "'quoted", " x", "🙂", "1=1"])
def test_another_cell_is_as_it_was(text: str) -> None:
    assert shown_cell(text) == text


def test_both_files_end_at_the_same_message(people: People) -> None:
    conversation = people.conversation
    fill(conversation, 3)
    export = export_of_conversations([conversation.pk])
    parts = export_parts([export])
    first = next(parts)
    say(conversation, people.student, "too late")
    with ZipFile(io.BytesIO(first + b"".join(parts))) as archive:
        assert len(json.loads(archive.read("messages.json"))["conversations"][0]["messages"]) == 3
        assert len(table(archive.read("messages.csv"))) == 4


def test_a_conversation_that_is_deleted_meanwhile_is_left_out(people: People) -> None:
    say(people.conversation, people.student, "hello")
    export = export_of_person(people.student)
    Conversation.objects.all().delete()
    with ZipFile(io.BytesIO(b"".join(export_parts([export])))) as archive:
        assert json.loads(archive.read("messages.json"))["conversations"] == []


def test_several_exports_have_a_folder_each(people: People) -> None:
    exports = [export_of_person(person, f"{person.pk}/") for person in (people.student, people.teacher)]
    with ZipFile(io.BytesIO(b"".join(export_parts(exports)))) as archive:
        names = [f"{person.pk}/{name}" for person in (people.student, people.teacher) for name in FILES[:2]]
        assert archive.namelist() == [*names, "SHA256SUMS"]
        assert json.loads(archive.read(names[2]))["person"]["username"] == "teacher"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--conversation", "999999"), r"^There is no conversation 999999\.$"),
        (("--user", "nobody"), r"^Nobody has the user name nobody\.$"),
        ((), "one of the arguments"),
        (("--conversation", "1", "--user", "student"), "not allowed with argument"),
    ],
)
def test_what_does_not_exist_is_refused(people: People, tmp_path: Path, options: tuple[str, ...], why: str) -> None:
    with pytest.raises(CommandError, match=why):
        call_command("export_chat", *options, "--out", tmp_path / "export.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_named(people: People, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"missing/export\.zip cannot be written: No such file or directory"):
        call_command("export_chat", "--user", "student", "--out", tmp_path / "missing" / "export.zip")


def test_memory_does_not_grow_with_the_number_of_messages(people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "MESSAGES_PER_PAGE", 50)

    def peak(count: int) -> int:
        fill(people.conversation, count)
        export = export_of_conversations([people.conversation.pk])
        tracemalloc.start()
        size = sum(len(part) for part in export_parts([export]))
        _now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size > 0
        return most

    few = peak(500)
    assert Message.objects.count() == 500
    assert peak(4000) < few * 1.5


async def test_a_stream_leaves_out_empty_parts_and_is_not_taken_for_complete_where_it_failed(
    transactional_db: None,
) -> None:
    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b""
        yield b"two"
        raise OperationalError("database is locked") from busy

    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    found = stream(parts())
    assert [await anext(found), await anext(found)] == [b"one", b"two"]
    with pytest.raises(UnavailableError):
        await anext(found)


async def test_a_stream_ends_with_its_parts(transactional_db: None) -> None:
    assert [part async for part in stream(iter([b"one", b"two"]))] == [b"one", b"two"]
