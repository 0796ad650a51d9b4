"""What an error of the database means. Sockets, writer, REST, admin, `/readyz` and metrics all ask `trouble_of`."""

import sqlite3
from enum import StrEnum

import psycopg
from django.db import Error, InterfaceError, InternalError, OperationalError

from chat.runtime import metrics


class Trouble(StrEnum):
    """What is wrong. All but `BAD_DATA` pass by themselves: the client is told `temporarily_unavailable`."""

    GONE = "gone"  # unreachable, shutting down, overloaded, or too slow
    READ_ONLY = "read_only"  # it answers but refuses to write, as a standby does
    FULL = "full"  # it has no space left to write
    LOCKED = "locked"  # a row or table is locked by somebody else
    CONFLICT = "conflict"  # two transactions were in each other's way
    BAD_DATA = "bad_data"  # the statement or its data is wrong

    @property
    def is_temporary(self) -> bool:
        """Whether the same call may succeed later."""
        return self is not Trouble.BAD_DATA

    @property
    def concerns_all(self) -> bool:
        """Whether other calls fail as well; else only those for the same rows."""
        return self in {Trouble.GONE, Trouble.READ_ONLY, Trouble.FULL}


# https://www.postgresql.org/docs/current/errcodes-appendix.html: a whole code, else its class.
SQLSTATES = {
    "25006": Trouble.READ_ONLY,
    "25P03": Trouble.GONE,  # idle_in_transaction_session_timeout has ended the connection
    "3D000": Trouble.GONE,  # the database is missing, for example while it is restored
    "40": Trouble.CONFLICT,
    "40003": Trouble.GONE,  # the connection broke during COMMIT
    "53": Trouble.GONE,  # too many connections, out of memory
    "53100": Trouble.FULL,
    "55P03": Trouble.LOCKED,
    "08": Trouble.GONE,
    "28": Trouble.GONE,  # the server's user is refused
    "57": Trouble.GONE,  # shutting down, starting up, statement_timeout
    "58": Trouble.GONE,  # its disk failed
    "XX": Trouble.GONE,  # it is damaged
}

# https://www.sqlite.org/rescode.html: primary result codes.
SQLITE_CODES = {
    sqlite3.SQLITE_BUSY: Trouble.LOCKED,
    sqlite3.SQLITE_LOCKED: Trouble.LOCKED,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_FULL: Trouble.FULL,
    **dict.fromkeys(
        (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_CORRUPT,
            sqlite3.SQLITE_INTERRUPT,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_NOMEM,
            sqlite3.SQLITE_NOTADB,
            sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_PROTOCOL,
        ),
        Trouble.GONE,
    ),
}


def trouble_of(error: BaseException) -> Trouble | None:
    """Return what an error of Django's database layer means, None if it is another error."""
    if not isinstance(error, Error):
        return None
    cause = error.__cause__
    if isinstance(cause, psycopg.Error) and cause.sqlstate:
        return SQLSTATES.get(cause.sqlstate) or SQLSTATES.get(cause.sqlstate[:2], Trouble.BAD_DATA)
    if isinstance(cause, sqlite3.Error) and (code := getattr(cause, "sqlite_errorcode", None)):
        return SQLITE_CODES.get(code & 0xFF, Trouble.BAD_DATA)
    lost = isinstance(error, (OperationalError, InterfaceError, InternalError))
    return Trouble.GONE if lost else Trouble.BAD_DATA


def temporary_trouble(error: BaseException, by: str) -> Trouble | None:
    """Return the trouble if it is temporary, and count it; else None. `by` is sockets, writer or http."""
    trouble = trouble_of(error)
    if trouble is None or not trouble.is_temporary:
        return None
    count_trouble(trouble, by)
    return trouble


def count_trouble(trouble: Trouble, by: str) -> None:
    """Count a call that failed."""
    metrics.DATABASE_ERRORS.labels(by, trouble).inc()
