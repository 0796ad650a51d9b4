"""Finds programs that Debian packages: in the PATH, else unpacked from the package, which needs no root."""

import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

DOWNLOAD_SECONDS = 120
SYSTEM = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"  # a user's PATH may lack the first


@cache
def program(name: str, package: str) -> str | None:
    """Return the path of a program; None where neither it nor its package is to be had."""
    return shutil.which(name) or shutil.which(name, path=SYSTEM) or _from_debian(name, package)


def _from_debian(name: str, package: str) -> str | None:
    unpacked = Path(sys.executable).with_name(name)
    if unpacked.exists() or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return str(unpacked) if unpacked.exists() else None
    with tempfile.TemporaryDirectory(prefix="qader-") as folder:
        own = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}"]
        for commands in ([["download", package]], [[*own, "update"], [*own, "download", package]]):
            for arguments in commands:  # a package is signed, as all that Debian has
                command = ["apt-get", "--quiet", *arguments]
                subprocess.run(command, cwd=folder, check=False, capture_output=True, timeout=DOWNLOAD_SECONDS)
            if packages := list(Path(folder).glob(f"{package}_*.deb")):
                subprocess.run(["dpkg-deb", "-x", packages[0], f"{folder}/out"], check=True, capture_output=True)
                found = next(Path(folder, "out", "usr").glob(f"*bin/{name}"))
                shutil.move(found, unpacked)
                return str(unpacked)
    return None
