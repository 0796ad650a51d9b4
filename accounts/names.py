"""How the text that somebody types as a name or an e-mail address is read, and when two spellings count as one."""

import re
import unicodedata

MAX_TYPED = 1000  # code points; a longer text is no name, and normalizing it can take seconds

# What is not seen but is no format or space character to Unicode: fillers, variation selectors, the blank of braille.
INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f]")
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})

# What a search takes for the same in Arabic, as `str.translate` and PostgreSQL's `translate` need it.
LETTERS = dict(zip("أإآٱىة", "اااايه", strict=True))
DIGITS = {chr(first + digit): str(digit) for first in (0x660, 0x6F0) for digit in range(10)}
MARKS = [chr(code) for code in range(0x600, 0x700) if unicodedata.category(chr(code)) == "Mn"]  # vowels, hamza above
TATWEEL = "\u0640"
DIRECTION_MARKS = "\u061c\u200c\u200d\u200e\u200f"  # and joiners
REPLACED, REPLACEMENTS = "".join(LETTERS | DIGITS), "".join((LETTERS | DIGITS).values())
DROPPED = "".join([*MARKS, TATWEEL, *DIRECTION_MARKS])
_FOLDED = str.maketrans(REPLACED, REPLACEMENTS, DROPPED)

# Normalizing sorts the marks of a letter in quadratic time: 4,000 take 0.2 s. This is Unicode's own bound (UAX #15).
MAX_MARKS = 30
_MARKS_IN_PARTS = frozenset("\u0f73\u0f75\u0f81\uff9e\uff9f")  # marks only once they are decomposed
# NFKC makes 18 letters of one that names the Prophet: a message of them alone would have a search text of 72,000.
MAX_GROWTH, SPARE_LENGTH = 3, 1000  # times the length of the text, and code points besides
_MANY_MARKS = re.compile(rf"[\W\uff9e\uff9f]{{{MAX_MARKS + 1}}}")  # no text without it has so many: cheap to look for


def visible_part(text: str) -> str:
    """Return the text without spaces and invisible marks at its ends.

    Phones paste direction marks, zero-width spaces and byte order marks with a name.
    """
    visible = [place for place, character in enumerate(text) if not _is_invisible(character)]
    return text[visible[0] : visible[-1] + 1] if visible else ""


def normal_name(text: str) -> str:
    """Return the visible part in Unicode's form NFKC.

    Keyboards differ in how they compose letters, and some write Latin letters in their wide forms.
    """
    return text if len(text) > MAX_TYPED else visible_part(unicodedata.normalize("NFKC", text))


def folded_name(text: str) -> str:
    """Return what all spellings of a name have in common that may count as one: letter case does not matter."""
    # upper() first: it makes one letter of some that casefold() keeps apart, such as the dotless i.
    return normal_name(normal_name(text).upper().casefold())


def folded_text(text: str) -> str:
    """Return a text as searches compare it: what people type in different ways in Arabic becomes the same.

    Vowel marks, tatweel, direction marks and joiners are dropped; alef with hamza, madda or wasla is alef; alef maqsura
    is ya; ta marbuta is ha; digits of both scripts are those of ASCII; presentation forms are letters (NFKC). Letter
    case is left to the search. The page has the same rules in JavaScript.
    """
    return unicodedata.normalize("NFKC", text).translate(_FOLDED)


def search_text(text: str) -> str:
    """Return `folded_text` without letter case: what the search compares, of a message and of what is looked for.

    Of the marks of one letter, `MAX_MARKS` stay; what makes it much longer than the text is left out at the end.
    """
    if text.isascii():
        return text.lower()
    normal = unicodedata.normalize("NFKC", _with_few_marks(text))
    return normal[: MAX_GROWTH * len(text) + SPARE_LENGTH].translate(_FOLDED).casefold()


def spellings(text: str) -> list[str]:
    """Return how a typed name may be stored, the likeliest first: rows that we did not write are in any form."""
    if len(text) > MAX_TYPED:
        return [text]
    name = normal_name(text)
    forms = [unicodedata.normalize(form, name) for form in ("NFD", "NFKD")]
    return list(dict.fromkeys([visible_part(text), name, *forms]))


def _with_few_marks(text: str) -> str:
    if not _MANY_MARKS.search(text):
        return text
    kept: list[str] = []
    marks = 0
    for character in text:
        is_mark = unicodedata.combining(character) or character in _MARKS_IN_PARTS
        marks = marks + 1 if is_mark else 0
        if marks <= MAX_MARKS:
            kept.append(character)
    return "".join(kept)


def _is_invisible(character: str) -> bool:
    if character == "\0":  # refused everywhere, as no text of ours may have it
        return False
    return unicodedata.category(character) in INVISIBLE_CATEGORIES or INVISIBLE.match(character) is not None
