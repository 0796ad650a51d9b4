"""docs/frontend.md and the README show the application of tests/e2e/nextjs/ as it is."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = ROOT / "tests" / "e2e" / "nextjs"
PAGE = (ROOT / "docs" / "frontend.md").read_text()
FIVE_MINUTES = re.search(
    r"^## Connect a frontend in five minutes\n(.*?)^## ", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
)
assert FIVE_MINUTES
TEXTS = {"docs/frontend.md": PAGE, "README.md": FIVE_MINUTES[1]}
SHOWN = [
    (name, file, lines)
    for name, text in TEXTS.items()
    for file, lines in re.findall(r"^`(\S+)`[^\n]*\n\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize(("name", "file", "lines"), SHOWN, ids=[f"{name}-{file}" for name, file, _ in SHOWN])
def test_shown_code_is_in_the_application(name: str, file: str, lines: str) -> None:
    assert lines in (APPLICATION / file).read_text()


@pytest.mark.parametrize("name", TEXTS)
def test_every_block_names_its_file(name: str) -> None:
    blocks = re.findall(r"^```(\w+)\n.*?^```", TEXTS[name], re.DOTALL | re.MULTILINE)
    commands = 1 if name == "docs/frontend.md" else 0  # its first block is what to type
    assert len([shown for shown in SHOWN if shown[0] == name]) == len(blocks) - commands > 0


def test_named_files_of_the_application_exist() -> None:
    named = re.findall(r"`((?:app|components|lib)/\S+\.tsx?)`", "".join(TEXTS.values()))
    assert named
    assert [name for name in named if not (APPLICATION / name).exists()] == []


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_every_file_of_the_client_is_named(text: str) -> None:
    static = ROOT / "chat" / "static" / "chat"
    types = [path.name for path in static.glob("*.d.ts")]
    assert sorted(types) == ["client.d.ts", "types.d.ts", "use-chat.d.ts"]
    modules = [name.replace(".d.ts", ".js") for name in types if name != "types.d.ts"]
    assert [name for name in [*types, *modules] if f"`{name}`" not in text or not (static / name).exists()] == []
