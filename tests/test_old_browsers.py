"""The oldest supported browsers know the syntax of our scripts and styles: esbuild has nothing to rewrite for them."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.node import installed, node

# As in docs/frontend.md and CHANGELOG.md.
OLDEST = "ios15.4,chrome109,firefox115"
FILES = sorted(path for suffix in ("js", "css") for path in Path().glob(f"*/static/**/*.{suffix}"))
# What we use of \p{...} is older; esbuild means the names that Unicode has added since.
KNOWN = "--supported:regexp-unicode-property-escapes=true"


def printed(files: Sequence[Path], target: str, folder: Path) -> dict[str, str]:
    """Return each file as esbuild prints it for these browsers."""
    program, names = str(installed() / "esbuild/bin/esbuild"), [str(path) for path in files]
    command = [node(), program, *names, f"--target={target}", KNOWN, f"--outdir={folder}", "--outbase=."]
    subprocess.run([*command, "--log-level=warning"], check=True, timeout=60)
    return {str(path): (folder / path).read_text() for path in files}


def rewritten(files: Sequence[Path], folder: Path) -> list[str]:
    new, old = (printed(files, target, folder / target) for target in ("esnext", OLDEST))
    return [name for name in new if new[name] != old[name]]


def test_no_script_or_style_has_newer_syntax(tmp_path: Path) -> None:
    assert len(FILES) > 20
    assert rewritten(FILES, tmp_path) == []


def test_newer_syntax_and_missing_prefixes_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    newer = {
        "block.js": "class A { static { A.b = 1; } }",
        "flag.js": "console.log(/[a--b]/v);",
        "nested.css": "a { &:hover { color: red; } }",
        "prefix.css": "a { user-select: none; }",
    }
    known = {"known.js": "console.log(a?.b ?? 1);", "known.css": "a { inset-inline-end: 1dvh; }"}
    for name, text in (newer | known).items():
        Path(name).write_text(text)
    assert rewritten([Path(name) for name in newer | known], tmp_path / "out") == list(newer)
