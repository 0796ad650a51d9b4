"""The TypeScript types match the frames, and a strict compiler accepts them."""

import subprocess
from pathlib import Path
from typing import get_args

import pytest
from django.core.management import CommandError, call_command

from chat.errors import ERROR_CODES, FrameCode, RestCode
from chat.management.commands import generate
from chat.wire import schemas
from chat.wire.server_frames import Frame
from tests.node import JS, installed, node


def test_the_generated_file_matches_the_structs() -> None:
    call_command("generate", check=True)


def test_a_stale_file_is_found_and_regenerated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "types.d.ts"
    monkeypatch.setattr(generate, "TYPES", file)
    for stale in (None, "", "export {};\n"):
        if stale is not None:
            file.write_text(stale)
        with pytest.raises(CommandError, match="make generate"):
            call_command("generate", check=True)
    call_command("generate")
    call_command("generate", check=True)


def test_every_frame_belongs_to_some_path() -> None:
    assert set(Frame.__subclasses__()) <= set(schemas.CONVERSATION_FRAMES + schemas.INBOX_FRAMES)


def test_every_code_has_a_meaning() -> None:
    assert sorted(ERROR_CODES) == sorted(get_args(FrameCode) + get_args(RestCode))


def test_a_strict_compiler_accepts_the_types_and_finds_misuse() -> None:
    compiler = installed() / "typescript" / "bin" / "tsc"
    compiled = subprocess.run([node(), compiler, "--project", JS], check=False, capture_output=True, text=True)
    assert (compiled.stdout, compiled.stderr, compiled.returncode) == ("", "", 0)
