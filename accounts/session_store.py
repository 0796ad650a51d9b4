"""Sessions in the database, as Django has them, but for a note under the old key of one that was given a new key."""

import re
from datetime import timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.db import connection
from django.utils import timezone

NEW_KEY = "_new_session_key"
STATEMENT = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"
KEY = re.compile("[a-zA-Z0-9]{8,40}")  # Django makes 32 of these; the column holds 40
NOTE_LIFETIME = timedelta(hours=1)  # sockets look after their session every CHAT_HEAL_SECONDS


class SessionStore(db.SessionStore):
    """What `SESSION_ENGINE` names.

    Who changes their own password goes on under a new session key. Sockets opened under the old one belong to the
    same session; by the note they find it (`chat.live.seats`). For everybody else a key with a note is no key.
    """

    def _validate_session_key(self, key: str | None) -> bool:
        """Whether this can be a key; a cookie is whatever its sender likes, and PostgreSQL refuses to look up NUL."""
        return KEY.fullmatch(key or "") is not None

    def cycle_key(self) -> None:
        """Go on under a new key."""
        contents, old_key = dict(self.items()), self.session_key
        if old_key is None or SESSION_KEY not in contents:
            super().cycle_key()
            return
        self.create()
        self._session_cache = contents
        note = self.encode({NEW_KEY: self.session_key})
        rows = Session.objects.filter(session_key=old_key)
        rows.update(session_data=note, expire_date=timezone.now() + NOTE_LIFETIME)

    def load(self) -> dict[str, Any]:
        """Return what the session holds; nothing where it has gone on under another key."""
        contents = self._stored()
        if contents is None or NEW_KEY in contents:
            self._session_key = None
            return {}
        return contents

    def _stored(self) -> dict[str, Any] | None:
        """Return what the row holds. A plain statement: every request and every socket begins with it."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        with connection.cursor() as cursor:
            cursor.execute(STATEMENT, [self.session_key, now])
            row = cursor.fetchone()
        return self.decode(row[0]) if row else None
