"""Writes a ZIP file in parts, with the standard library's own way of writing to what cannot seek."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from django.utils import timezone

CHECKSUMS = "SHA256SUMS"  # as `sha256sum --check` reads it


class _Pipe:
    """A file that is only written to; what was written is taken out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Do nothing, as `close` does; zipfile wants both."""

    def close(self) -> None: ...

    def take(self) -> bytes:
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def zip_parts(files: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """Yield a ZIP file of these files, by name and content, and of their `SHA256SUMS`.

    Some of the parts are empty: each comes from one part of one file. No more than that is in memory at any time.
    """
    pipe, sums = _Pipe(), ""
    with ZipFile(pipe, "w") as archive:
        for name, content in files:
            digest = sha256()
            # With 64-bit sizes, because how long it gets is not known when it begins.
            with archive.open(_entry(name), "w", force_zip64=True) as entry:
                for part in content:
                    digest.update(part)
                    entry.write(part)
                    yield pipe.take()
            sums += f"{digest.hexdigest()}  {name}\n"
        archive.writestr(_entry(CHECKSUMS), sums)
    yield pipe.take()


def _entry(name: str) -> ZipInfo:
    entry = ZipInfo(name, timezone.now().timetuple()[:6])
    entry.compress_type = ZIP_DEFLATED
    entry.external_attr = 0o600 << 16  # as unzip creates it
    return entry
