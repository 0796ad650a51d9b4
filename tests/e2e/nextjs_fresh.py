"""A fresh Next.js application, made and changed by following docs/frontend.md, and nothing else."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.e2e.server import ROOT
from tests.frontend_document import blocks, patched, section
from tests.node import environment, node, npm

COMPONENT = Path(__file__).with_name("ChatInterface.jsx")
# What the page's version of create-next-app installs is not pinned by it: as it was on this day.
INSTALLED_BEFORE = "2026-11-20"
STEPS_SECONDS = 240


def settings(folder: Path, **given: str) -> dict[str, str]:
    """Return an environment in which `npm`, `npx` and `node` are those of the tests."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    command = npm()
    if len(command) == 2:
        for name in ("npm", "npx"):
            script = programs / name
            script.write_text(f'#!/bin/sh\nexec "{node()}" "{command[1].replace("npm-cli", f"{name}-cli")}" "$@"\n')
            script.chmod(0o755)
    fresh = environment()
    quiet = {"NEXT_TELEMETRY_DISABLED": "1", "npm_config_yes": "true", "npm_config_before": INSTALLED_BEFORE}
    return fresh | quiet | {"PATH": os.pathsep.join([str(programs), fresh["PATH"]])} | given


def type_in(folder: Path, env: dict[str, str], commands: str) -> str:
    """Type these commands into a shell in this folder; return what they print, and fail if one of them fails."""
    done = subprocess.run(
        ["sh", "-ec", commands],
        cwd=folder,
        env=env,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STEPS_SECONDS,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}"
    return done.stdout


def follow(folder: Path, env: dict[str, str]) -> Path:
    """Follow the section "A new application" up to `npm run dev`; return the application's folder."""
    (folder / "qader-chat").symlink_to(ROOT)
    make, configure, start = blocks(section("A new application"))
    type_in(folder, env, make.text)
    application = folder / "my-chat"
    assert configure.file
    placeholder = configure.introduction.split("replace `")[1].split("`")[0]
    insert(application / configure.file, f"  {placeholder}\n", configure.text)
    assert start.text == "npm run dev\n"
    return application


def insert(file: Path, placeholder: str, text: str) -> None:
    """Put the text where the placeholder is."""
    before = file.read_text()
    assert before.count(placeholder) == 1, before
    file.write_text(before.replace(placeholder, text))


def add_component_of_v1(application: Path) -> None:
    """Follow the section "Coming from v1", for the component as its document has it."""
    edits, page = blocks(section("Coming from v1"))
    assert edits.file and page.file
    (application / edits.file).write_text(patched(COMPONENT.read_text(), edits.text))
    (application / page.file).parent.mkdir()
    (application / page.file).write_text(page.text)


def copy_example(folder: Path) -> Path:
    """Copy examples/nextjs/ as it is in a checkout; return the copy."""
    example = ROOT / "examples" / "nextjs"
    copy = folder / "copied"
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("node_modules", ".next", "next-env.d.ts"))
    return copy
