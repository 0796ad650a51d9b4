"""The README's section for frontend authors shows the application of tests/e2e/nextjs/ as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = ROOT / "tests" / "e2e" / "nextjs"
_FOUND = re.search(r"^## For frontend authors\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
assert _FOUND
SECTION = _FOUND.groups()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", SECTION[0], re.DOTALL | re.MULTILINE)
SHOWN = re.findall(r"^`(\S+)`[^\n]*\n\n```\w+\n(.*?)^```", SECTION[0], re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("file", "lines"), SHOWN, ids=[file for file, _ in SHOWN])
def test_what_the_readme_shows_is_in_the_application(file: str, lines: str) -> None:
    assert lines in (APPLICATION / file).read_text()


def test_the_readme_says_of_every_block_which_file_it_is_from() -> None:
    assert len(SHOWN) == len([language for language, _ in BLOCKS]) - 1  # the first is what to type


def test_the_readme_names_files_of_the_application_that_there_are() -> None:
    named = re.findall(r"`((?:app|components|lib)/\S+\.tsx?)`", SECTION[0])
    assert named
    assert [name for name in named if not (APPLICATION / name).exists()] == []


def test_the_readme_names_every_file_of_the_client() -> None:
    static = ROOT / "chat" / "static" / "chat"
    types = [path.name for path in static.glob("*.d.ts")]
    assert sorted(types) == ["client.d.ts", "types.d.ts", "use-chat.d.ts"]
    modules = [name.replace(".d.ts", ".js") for name in types if name != "types.d.ts"]
    assert [name for name in [*types, *modules] if f"`{name}`" not in SECTION[0] or not (static / name).exists()] == []
