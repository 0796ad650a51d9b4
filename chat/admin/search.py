"""Searches people and texts in the admin, however their Arabic is written; no search reads all messages."""

from django.contrib import messages
from django.db import connection
from django.db.models import Max, Q, QuerySet
from django.http import HttpRequest
from django.utils.text import smart_split, unescape_string_literal
from django.utils.translation import gettext_lazy as _

from accounts.models import UserProfile
from accounts.names import search_text
from chat.models import Conversation, Message

MAX_SEARCHED = 100_000  # newest messages that are searched where no index helps
MAX_HITS = 1000  # messages whose conversations are found
TRIGRAM = 3  # letters in a row that the index needs
NOT_FOLDED = _("Older messages are not searched yet: manage.py fold_search_texts has to run first.")


def words_of(term: str) -> list[str]:
    """Return what a text must contain, folded as the stored one is; quotes keep several words together."""
    words = [search_text(_unquoted(word)) for word in smart_split(term)]
    return [word for word in words if word]


def _unquoted(word: str) -> str:
    quoted = len(word) > 1 and word[0] in "\"'" and word[0] == word[-1]
    return unescape_string_literal(word) if quoted else word


def with_words(rows: QuerySet[Message], words: list[str], *, everything: bool = False) -> QuerySet[Message]:
    """Return those of these messages that contain all the words.

    With `everything` all of them are searched, else the newest `MAX_SEARCHED` unless the index finds one of the words.
    """
    if not words:
        return rows.none()
    if not everything and not _has_index(words):
        newest = Message.objects.aggregate(newest=Max("pk"))["newest"] or 0
        rows = rows.filter(pk__gt=newest - MAX_SEARCHED)
    found = Q()
    for word in words:
        found &= Q(search_text__contains=word)
    return rows.filter(found)


def conversations_with(words: list[str]) -> list[int]:
    """Return the ids of the conversations with the newest `MAX_HITS` messages that contain all the words."""
    found = with_words(Message.objects.order_by("-pk"), words)
    return sorted(set(found.values_list("conversation_id", flat=True)[:MAX_HITS]))


def of_people(rows: QuerySet[Conversation], term: str) -> QuerySet[Conversation]:
    """Return the conversations of which each word of the term is in a name or the address of either side.

    The people of a word are looked up first, and once: their names are folded for the comparison.
    """
    for word in smart_split(term):
        text = _unquoted(word)
        whose = (
            Q(full_name__folded__icontains=text) | Q(user__username__icontains=text) | Q(user__email__icontains=text)
        )
        people = list(UserProfile.objects.filter(whose).values_list("pk", flat=True))
        rows = rows.filter(Q(student__in=people) | Q(teacher__in=people))
    return rows


def _has_index(words: list[str]) -> bool:
    longest = max((run for word in words for run in _runs(word)), key=len, default="")
    return connection.vendor == "postgresql" and len(longest) >= TRIGRAM


def _runs(text: str) -> list[str]:
    """Return the parts of a text that are letters or digits alone, which trigrams are made of."""
    return "".join(character if character.isalnum() else " " for character in text).split()


def warn_if_not_folded(request: HttpRequest) -> None:
    """Tell the admin if there are messages that no search finds."""
    if Message.objects.filter(search_text=None).order_by().values("pk")[:1].exists():
        messages.warning(request, NOT_FOLDED)
