"""Every test that SECURITY.md names exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "SECURITY.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", TEXT)


def test_every_test_that_it_names_exists() -> None:
    missing = [
        (path, name)
        for path, name in NAMED
        if not (ROOT / path).exists()
        or not re.search(rf"^(?:async )?def {name}", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert missing == []
    assert len(NAMED) > 70


def test_every_test_path_in_the_document_is_recognized() -> None:
    assert set(re.findall(r"test_\w+", TEXT)) == {Path(path).stem for path, _ in NAMED} | {
        name for _, name in NAMED if name
    }


def test_every_row_has_a_test_or_a_reason() -> None:
    rows = [line.strip("|").split("|") for line in TEXT.splitlines() if line.startswith("|")]
    assert all(len(row) == 2 and row[1].strip() for row in rows)
