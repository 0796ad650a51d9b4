"""Exports conversations, and what is stored about a person: as JSON and as a table, page by page, in a ZIP file."""

import csv
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import msgspec
from django.db.models import Q

from accounts.models import User
from accounts.serializers import me_body
from chat.errors import UnavailableError
from chat.models import AuditAction, AuditEntry, Conversation, LastSeen, Message, Report
from chat.moderation.audit import record_all
from chat.moderation.zip_stream import zip_parts
from chat.runtime.database import in_database
from chat.wire.server_frames import MessageBody, conversation_body, message_body, report_body

MESSAGES_PER_PAGE = 200
BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # without it, spreadsheets take UTF-8 for something else
COLUMNS = ("conversation", "message", "sent_at", "sender", "sender_name", "sender_role", "is_read", "is_erased", "text")
# What spreadsheets run at the start of a cell: https://owasp.org/www-community/attacks/CSV_Injection. Some begin a cell
# behind other characters than the comma: semicolons where the comma is in numbers, tabs, and new lines.
RUN = re.compile(r"""^\s*(?=[=+\-@＝＋－＠])|[;\t\r\n](?=[\s"]*[=+\-@＝＋－＠])""")
CONTROLS = tuple("\t\r\n")

OnPage = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Export:
    """What goes into one pair of files, below `folder`: conversations, and what is stored about `person`.

    The conversations are shown as the person sees them, or else as their students do. `ends` has the id of each, and
    its newest seq, so that both files end at the same message.
    """

    ends: Sequence[tuple[int, int]]
    person: User | None = None
    folder: str = ""

    @property
    def count(self) -> int:
        """How many messages it has at most: some may be deleted."""
        return sum(end for _, end in self.ends)


def export_of_person(person: User, folder: str = "") -> Export:
    """Return the export of all that is stored about a person: with all conversations that they are in, or were."""
    theirs = Conversation.objects.filter(Q(student__user=person) | Q(teacher__user=person))
    return Export(list(theirs.order_by("pk").values_list("pk", "last_seq")), person, folder)


def export_of_conversations(ids: Collection[int]) -> Export:
    """Return the export of these conversations, as their students see them."""
    return Export(list(Conversation.objects.filter(pk__in=ids).order_by("pk").values_list("pk", "last_seq")))


def record_export(exports: Iterable[Export], *, by: User | None) -> None:
    """Record what is taken out, by whom, None for a command: each person, and each conversation."""
    record_all(
        AuditEntry(
            action=AuditAction.EXPORTED,
            actor_id=by.pk if by else None,
            conversation_id=conversation_id,
            person_id=export.person.pk if export.person else None,
        )
        for export in exports
        for conversation_id in ([None] if export.person else []) + [found for found, _ in export.ends]
    )


def export_parts(exports: Sequence[Export], on_page: OnPage = lambda count: None) -> Iterator[bytes]:
    """Yield the ZIP file in parts, some of them empty. Each part reads at most one page of messages.

    `on_page` is called with the number of messages of each page, of either file.
    """
    return zip_parts(
        (export.folder + name, parts(export, on_page))
        for export in exports
        for name, parts in (("messages.json", json_parts), ("messages.csv", csv_parts))
    )


async def stream(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield these parts without the empty ones. Each is made in a database thread, which then serves others.

    So nobody who reads slowly holds a connection. Raises `UnavailableError` where the export is cut short.
    """
    steps = _to_the_end(parts)
    while (part := await in_database(next, steps, "cut short")) is not None:
        if isinstance(part, str):  # it has raised before
            raise UnavailableError
        if part:
            yield part


def _to_the_end(parts: Iterator[bytes]) -> Iterator[bytes | None]:
    """Yield None behind the last part: an iterator that has raised only stops, as if it were complete."""
    yield from parts
    yield None


def json_parts(export: Export, on_page: OnPage = lambda count: None) -> Iterator[bytes]:
    """Yield `{"person": ..., "conversations": [...]}`, with a line for each message."""
    yield b'{"person": %b,\n"conversations": [' % msgspec.json.encode(_stored_about(export.person))
    separator = b"\n"
    for conversation, end in _conversations(export):
        reader_id = export.person.pk if export.person else conversation.student.user_id
        yield separator + _conversation_object(conversation, reader_id)[:-1] + b', "messages": ['
        separator = b"\n"
        for page in _pages(conversation, end, on_page):
            rows = [msgspec.json.encode(message_body(message, reader_id)) for message in page]
            yield separator + b",\n".join(rows)
            separator = b",\n"
        yield b"]}"
        separator = b",\n"
    yield b"\n]}\n"


def csv_parts(export: Export, on_page: OnPage = lambda count: None) -> Iterator[bytes]:
    """Yield the messages as a table, which a spreadsheet opens without running any of it."""
    yield BYTE_ORDER_MARK + _table([COLUMNS])
    for conversation, end in _conversations(export):
        for page in _pages(conversation, end, on_page):
            yield _table([_row(conversation.pk, message_body(message)) for message in page])


def shown_cell(text: str) -> str:
    """Return a text as a cell, with a `'` before all that a spreadsheet would run."""
    shown = RUN.sub(lambda found: f"{found[0]}'" if found.start() else f"'{found[0]}", text)
    return f"'{shown}" if shown.startswith(CONTROLS) else shown


def _table(rows: Iterable[Sequence[object]]) -> bytes:
    table = StringIO()
    csv.writer(table).writerows([shown_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return table.getvalue().encode()


def _row(conversation_id: int, message: MessageBody) -> Sequence[object]:
    sender = message.sender_profile
    return (
        *(conversation_id, message.id, message.timestamp.isoformat(), message.sender),
        *((sender.full_name or sender.username, sender.role) if sender else ("", "")),
        *(message.is_read, message.is_erased, message.content),
    )


def _conversation_object(conversation: Conversation, reader_id: int) -> bytes:
    newest = conversation.messages.with_sender().order_by("-seq").first()
    unread = conversation.unread_by(reader_id).count()
    return msgspec.json.encode(conversation_body(conversation, reader_id, newest, unread))


def _conversations(export: Export) -> Iterator[tuple[Conversation, int]]:
    """Yield each conversation and its newest seq; those that were deleted meanwhile are left out."""
    for conversation_id, end in export.ends:
        conversation = Conversation.objects.with_people().filter(pk=conversation_id).first()
        if conversation is not None:
            yield conversation, end


def _pages(conversation: Conversation, end: int, on_page: OnPage) -> Iterator[list[Message]]:
    """Yield the messages, each with its sender: one object for all of the same, which costs neither time nor memory."""
    people = {profile.user_id: profile.user for profile in (conversation.student, conversation.teacher)}
    rows = Message.objects.filter(conversation=conversation, seq__lte=end).order_by("seq")
    after = 0
    while page := list(rows.filter(seq__gt=after)[:MESSAGES_PER_PAGE]):
        for message in page:
            message.sender = people.get(message.sender_id) or message.sender
        after = page[-1].seq
        on_page(len(page))
        yield page


# By key, what other apps store about a person; they add theirs when they are ready.
stored_elsewhere: dict[str, Callable[[User], Any]] = {}


def _stored_about(person: User | None) -> dict[str, Any] | None:
    """Return what is stored about a person beside their conversations. Whatever else is stored belongs here.

    Never what others were told about them, such as the note to a new mentor.
    """
    if person is None:
        return None
    account = {name: getattr(person, name) for name in ("is_active", "date_joined", "last_login")}
    seen = LastSeen.objects.filter(user=person).values_list("at", flat=True).first()
    me: dict[str, Any] = msgspec.to_builtins(me_body(person))
    others = {key: stored_about(person) for key, stored_about in stored_elsewhere.items()}
    return me | account | {"last_seen": seen, "reports": _reports_by(person)} | others


def _reports_by(person: User) -> list[dict[str, Any]]:
    """Return the reports that they made, without what the staff noted. Nobody is told who reported them."""
    rows = Report.objects.filter(reporter_id=person.pk).order_by("pk")
    return [
        msgspec.to_builtins(report_body(row)) | {"conversation": row.conversation_id, "reason": row.reason}
        for row in rows
    ]
