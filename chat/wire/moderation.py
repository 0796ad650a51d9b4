"""The objects of what the platform's staff does."""

from datetime import datetime
from typing import Annotated

import msgspec


class HandoffNoteBody(msgspec.Struct, frozen=True):
    """What a mentor was told about a student when they were assigned; an empty text and null if nothing."""

    text: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)] | None
