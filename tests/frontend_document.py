"""What docs/frontend.md shows, and what it tells its readers to do, for the tests that follow it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "frontend.md").read_text()
# A fenced block, with the paragraph or list item before it.
BLOCK = re.compile(
    r"(?:^(?P<before>(?:(?!```)[^\n]+\n)+)\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Block:
    """A block of code; `file` is what its introduction names first, or None for commands to type."""

    file: str | None
    introduction: str
    language: str
    text: str


def section(title: str, text: str = PAGE) -> str:
    """Return what stands below a heading of the second level."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return str(found)


def blocks(text: str) -> Iterator[Block]:
    """Return the blocks of code, in their order."""
    for match in BLOCK.finditer(text):
        introduction = match["before"] or ""
        named = re.search(r"`([^`\s]+\.[^`\s]+)`", introduction)
        file = named[1] if named and (match["language"] != "sh" or named[1].startswith(".env")) else None
        yield Block(file, introduction, match["language"], match["text"])


def patched(text: str, diff: str) -> str:
    """Return the text with each hunk of a diff applied; fails unless its old lines are there exactly once."""
    for hunk in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
