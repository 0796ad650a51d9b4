"""docs/frontend.md and the README show the application of examples/nextjs/ as it is, and the client can be taken."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.frontend_document import PAGE, Block, blocks, patched, section
from tests.node import environment, installed, node, npm

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = ROOT / "examples" / "nextjs"
STATIC = ROOT / "chat" / "static" / "chat"
TYPES = ["client.d.ts", "push.d.ts", "types.d.ts", "use-chat.d.ts"]
CLIENT = ["client.js", "push.js", "use-chat.js", *TYPES]
V1 = section("Coming from v1")
TEXTS = {
    "docs/frontend.md": PAGE.replace(V1, ""),
    "README.md": section("Connect a frontend in five minutes", (ROOT / "README.md").read_text()),
}
SHOWN = [(name, block) for name, text in TEXTS.items() for block in blocks(text) if block.file]


@pytest.mark.parametrize(("name", "block"), SHOWN, ids=[f"{name}-{block.file}" for name, block in SHOWN])
def test_shown_code_is_in_the_application_with_its_imports(name: str, block: Block) -> None:
    assert block.file
    file = (APPLICATION / block.file).read_text()
    shown = re.split(r"^\s*// …\n", block.text, flags=re.MULTILINE)
    assert [part for part in shown if part not in file] == []
    imports = re.findall(r"^import .*;\n", file, re.MULTILINE)
    code = re.sub(r"^import .*;\n", "", block.text, flags=re.MULTILINE)
    used = [line for line in imports if any(re.search(rf"\b{word}\b", code) for word in imported(line))]
    assert [line for line in used if line not in block.text] == []


def imported(line: str) -> list[str]:
    """Return the names that an import gives to its file."""
    names, _, _ = line.removeprefix("import ").rpartition(" from ")
    return [name for name in re.findall(r"\w+", names) if name not in {"type", "as"}]


def test_every_block_names_its_file_or_is_a_command() -> None:
    unnamed = [block for text in TEXTS.values() for block in blocks(text) if not block.file]
    assert {block.language for block in unnamed} == {"sh"}
    # The README has the commands of the page.
    steps = [block.text for block in blocks(section("A new application"))]
    assert [block.text for block in blocks(TEXTS["README.md"])][:2] == steps[:2]


def test_named_files_of_the_application_exist() -> None:
    named = re.findall(r"`((?:app|components|lib)/\S+\.tsx?)`", "".join(TEXTS.values()))
    assert named
    assert [name for name in named if not (APPLICATION / name).exists()] == []


def test_nothing_in_the_application_leads_out_of_it() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=APPLICATION, check=True, capture_output=True, text=True).stdout
    files = [APPLICATION / name for name in tracked.splitlines()]
    assert len(files) > 20
    # Nor does its lock name a registry.
    assert [file.name for file in files if re.search(r'\.\./|"resolved"', file.read_text())] == []


@pytest.mark.parametrize("name", CLIENT)
def test_the_application_has_the_client_as_it_is(name: str) -> None:
    assert (APPLICATION / "lib/qader" / name).read_bytes() == (STATIC / name).read_bytes(), "run `make generate`"


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_every_file_of_the_client_is_named(text: str) -> None:
    assert sorted(path.name for path in STATIC.glob("*.d.ts")) == TYPES
    assert [name for name in CLIENT if f"`{name}`" not in text or not (STATIC / name).exists()] == []


def test_the_component_of_the_first_document_takes_the_four_edits() -> None:
    component = (ROOT / "tests/e2e/ChatInterface.jsx").read_text()
    (diff,) = [block.text for block in blocks(V1) if block.language == "diff"]
    assert re.search(r"needs four edits.*?\n\n1\. .*\n4\. [^\n]*\n(?!5\. )", V1, re.DOTALL)
    assert patched(component, diff).startswith('"use client";\n')


CONSUMER = """
import * as React from "react";
import { ApiError, createApi, createChat, listUnsent, type ChatMessage, type Me } from "qader-chat";
import { createUseChat } from "qader-chat/react";
import type { FrameErrorCode } from "qader-chat/types";

export const { useChat, useInbox } = createUseChat(React);
export const open = (user: Me): readonly ChatMessage[] => createChat({ user }).getSnapshot().messages;
export const code: FrameErrorCode = "rate_limited";
export const isKnown = (error: unknown): boolean => error instanceof ApiError && error.status === 0;
export const unsent: string[] = listUnsent(await createApi().me()).map(({ content }) => content);
// @ts-expect-error A message has no such field: the types are found, and are not `any`.
export const wrong = open({} as Me)[0]?.text;
"""


def test_the_client_can_be_packed_installed_and_compiled_against(tmp_path: Path) -> None:
    def run(*command: str | Path) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(), check=False, timeout=60, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (packed,) = json.loads(run(*npm(), "pack", "--json", STATIC))
    assert sorted(file["path"] for file in packed["files"]) == sorted([*CLIENT, "package.json"])
    assert f"`{packed['filename']}`" in PAGE
    released = re.findall(r"^## (\d\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert packed["version"] == released[0]

    modules = installed()
    for compiler in ({"module": "nodenext"}, {"module": "esnext", "moduleResolution": "bundler"}):
        options = {"strict": True, "noEmit": True, "target": "es2022", "lib": ["dom", "esnext"], **compiler}
        (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "include": ["consumer.ts"]}))
        (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
        (tmp_path / "consumer.ts").write_text(CONSUMER)
        if not (tmp_path / "node_modules").exists():
            run(*npm(), "install", "--offline", "--no-audit", "--no-fund", f"./{packed['filename']}")
            (tmp_path / "node_modules/@types").mkdir()
            (tmp_path / "node_modules/@types/react").symlink_to(modules / "@types/react")
        run(node(), modules / "typescript/bin/tsc")
    said = run(node(), "--input-type=module", "-e", "console.log(Object.keys(await import('qader-chat')).join())")
    stores = "createApi,createChat,createFormerChat,createInbox"
    assert said == f"ApiError,{stores},draftKey,fetchHandoffNote,keepDraft,listFormer,listUnsent,readDraft,serverNow\n"
