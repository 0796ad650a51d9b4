"""Which spellings of a text count as one where people are searched."""

import pytest
from django.db.models import Value

from accounts.models import UserProfile
from accounts.names import folded_text
from accounts.search import Folded
from tests.people import People

SAME = [
    ("سَارَة", "ساره"),
    ("ســـارة", "ساره"),
    ("العتيبى", "العتيبي"),
    ("أحمد إبراهيم آدم ٱلله", "احمد ابراهيم ادم الله"),
    ("ا\u0654حمد", "احمد"),  # a letter and its hamza as two characters
    ("ﺳﺎﺭﺓ", "ساره"),  # presentation forms
    ("٠١٢٣٤٥٦٧٨٩ ۰۱۲۳۴۵۶۷۸۹", "0123456789 0123456789"),
    ("\u200fسارة\u200e", "ساره"),
    ("مؤمن رئيس", "مؤمن رئيس"),  # other letters stay
    ("Jos\u00e9 \u00c9mile", "José Émile"),
    ("پگچ", "پگچ"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "folded"), SAME)
def test_arabic_is_folded(text: str, folded: str) -> None:
    assert folded_text(text) == folded
    assert folded_text(folded) == folded


def test_the_database_folds_as_the_function_does(people: People) -> None:
    everything = "".join(map(chr, [*range(1, 0x700), *range(0x2000, 0x2070), *range(0xFB50, 0xFEFF)]))
    rows = UserProfile.objects.filter(pk=people.student.profile.pk)
    for text in [everything, *(text for text, _ in SAME)]:
        assert rows.annotate(folded=Folded(Value(text))).values_list("folded", flat=True).get() == folded_text(text)
