"""README, docs/ and the other documents: links and paths lead somewhere, and tables agree with the code."""

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import pytest
from django.urls import resolve

from chat.errors import CloseCode, FrameCode

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
        *sorted((ROOT / "docs").glob("**/*.md")),
    )
}
MAKEFILE = (ROOT / "Makefile").read_text()
PACKAGES = ("accounts", "bench", "chat", "deploy", "docs", "examples", "locale", "qader", "tests", ".ci")
# A file or folder of the repository: below one of the packages, or at the top by the name of a file.
REPOSITORY_PATH = re.compile(
    rf"(?:{'|'.join(map(re.escape, PACKAGES))})/[\w./*-]*"
    r"|[\w.*-]+\.(?:md|yml|toml|in|txt)|Makefile|Dockerfile|\.env\.example"
)

in_each_document = pytest.mark.parametrize("name", DOCUMENTS)


def prose(text: str) -> str:
    """Return a document without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def rows(text: str, title: str | None = None) -> list[list[str]]:
    """Return the cells of every table row, or of those below one heading."""
    if title is not None:
        text = re.split(r"^#+ ", text.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line] for line in lines]


def make_commands() -> list[str]:
    """Return every `make` command that a document names."""
    found: set[str] = set()
    for text in DOCUMENTS.values():
        found.update(re.findall(r"`(make [^`\n]+)`", text))
        for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            found.update(line.split("  #")[0].strip() for line in block.splitlines() if line.startswith("make "))
    return sorted(found)


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(DOCUMENTS["README.md"].splitlines()) <= 200


@in_each_document
def test_every_relative_link_resolves(name: str) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(DOCUMENTS[name])):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists() or (anchor and anchor not in anchors(file.read_text())):
            missing.append(target)
    assert missing == []


@in_each_document
def test_every_repository_path_exists(name: str) -> None:
    spans = [span.partition("::")[0] for span in re.findall(r"`([^`\n]+)`", prose(DOCUMENTS[name]))]
    paths = {span for span in spans if REPOSITORY_PATH.fullmatch(span)}
    assert sorted(path for path in paths if not list(ROOT.glob(path))) == []


def test_the_readme_names_every_module_of_the_chat() -> None:
    # Without management/ and migrations/.
    modules = {str(path.relative_to(ROOT)) for path in [*ROOT.glob("chat/*.py"), *ROOT.glob("chat/[!m]*/*.py")]}
    modules -= {name for name in modules if name.endswith(("__init__.py", "chat/apps.py"))}
    assert sorted(modules - set(re.findall(r"`(chat/[\w/]+\.py)`", DOCUMENTS["README.md"]))) == []


def test_the_readme_links_to_every_other_document() -> None:
    linked = set(re.findall(r"\]\(([^)\s#]+\.md)\)", DOCUMENTS["README.md"]))
    assert linked == set(DOCUMENTS) - {"README.md"}


def test_contributing_has_a_row_for_every_make_target() -> None:
    targets = re.findall(r"^([a-z]+):.* ## ", MAKEFILE, re.MULTILINE)
    documented = [cells[0].strip("`").removeprefix("make ") for cells in rows(DOCUMENTS["CONTRIBUTING.md"], "Set up")]
    assert sorted(documented) == sorted(targets)


@pytest.mark.parametrize("command", make_commands())
def test_every_make_command_exists(command: str) -> None:
    program, target, *variables = shlex.split(command)
    assert re.search(rf"^{target}:.* ## ", MAKEFILE, re.MULTILINE)
    for variable in variables:
        assert re.search(rf"\b{variable.partition('=')[0]}\b", MAKEFILE)
    # Not with the flags of the `make` that runs these tests.
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS"}}
    done = subprocess.run(
        [program, "--dry-run", target, *variables],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_the_settings_page_has_every_variable_with_its_default() -> None:
    example = dict(re.findall(r"^#?([A-Z_]+)=\"?([^\"\n]*)\"?$", (ROOT / ".env.example").read_text(), re.MULTILINE))
    documented = {cells[0].strip("`"): cells[1] for cells in rows(DOCUMENTS["docs/settings.md"])}
    assert set(documented) == set(example)
    for name, value in example.items():
        assert documented[name] == f"`{value}`" if value else documented[name] in {"empty", "none"}, name


def test_the_protocol_page_has_every_error_code() -> None:
    codes = [cells[0].strip("`") for cells in rows(DOCUMENTS["docs/protocol.md"], "Error codes")]
    assert sorted(codes) == sorted(get_args(FrameCode))


def test_the_protocol_page_has_every_close_code() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d{4})\b", DOCUMENTS["docs/protocol.md"], re.MULTILINE)}
    assert set(CloseCode) <= codes


def test_the_protocol_page_has_every_frame() -> None:
    types = (ROOT / "chat" / "static" / "chat" / "types.d.ts").read_text()
    frames = set(re.findall(r"^\ttype: \"(\w+)\";$", types, re.MULTILINE))
    assert len(frames) > 10
    assert frames == set(re.findall(r"`\{\"type\": \"(\w+)\"", DOCUMENTS["docs/protocol.md"]))


def test_every_rest_path_is_routed() -> None:
    paths = [cells[0].strip("`").split()[1] for cells in rows(DOCUMENTS["docs/rest.md"].split("## Lists")[0])]
    assert len(paths) == 22
    for path in paths:
        resolve("/api/v1/" + path.replace("<id>", "7").replace("<token>", "x"))
