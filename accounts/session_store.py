"""Django's database sessions; a session that gets a new key leaves a note with that key under its old one."""

import re
from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

NEW_KEY = "_new_session_key"
STATEMENT = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"
KEY = re.compile("[a-zA-Z0-9]{8,40}")  # Django makes 32 of these; the column holds 40
NOTE_LIFETIME = timedelta(hours=1)  # sockets check their session every CHAT_HEAL_SECONDS


class SessionStore(db.SessionStore):
    """The session store of `SESSION_ENGINE`.

    A user who changes their own password continues under a new session key. Sockets that were opened under the old key
    find the new one by the note. A request with the old key has no session.
    """

    def _validate_session_key(self, key: str | None) -> bool:
        """Whether this can be a key: a cookie may hold any text, and PostgreSQL raises for NUL."""
        return KEY.fullmatch(key or "") is not None

    def cycle_key(self) -> None:
        """Continue under a new key, and leave the note under the old one."""
        contents, old_key = dict(self.items()), self.session_key
        if old_key is None or SESSION_KEY not in contents:
            super().cycle_key()
            return
        self.create()
        self._session_cache = contents
        note = self.encode({NEW_KEY: self.session_key})
        rows = Session.objects.filter(session_key=old_key)
        rows.update(session_data=note, expire_date=timezone.now() + NOTE_LIFETIME)

    def save(self, must_create: bool = False) -> None:
        """Save; unlike Django's, an error of the database is not taken for a session that was deleted meanwhile."""
        try:
            super().save(must_create)
        except UpdateError as error:
            if error.__context__ is not None and error.__context__.__cause__ is not None:  # the driver raised it
                raise error.__context__ from error.__context__.__cause__
            raise

    def load(self) -> dict[str, Any]:
        """Return the contents of the session; nothing if it continues under another key."""
        contents = self._stored()
        if contents is None or NEW_KEY in contents:
            self._session_key = None
            return {}
        return contents

    def _stored(self) -> dict[str, Any] | None:
        """Return the contents of the row. Plain SQL, because every request and every socket begins with it."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute(STATEMENT, [self.session_key, now])
            row = cursor.fetchone()
        return self.decode(row[0]) if row else None
