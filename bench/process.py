"""A server under test: started by its own command, measured, and stopped with all its children."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.chat_socket import HOST, Address, ChatSocket
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 15
LOG_CHARACTERS = 3000


class ServerFailedError(Exception):
    """It did not start; with the end of its log."""


class Process:
    """One running server, which keeps its port over a restart."""

    def __init__(self, command: list[str], environment: Mapping[str, str], cwd: Path) -> None:
        self.port = free_port()
        self._command = [part.format(port=self.port) for part in command]
        self._environment, self._cwd = environment, cwd
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this object
        self.start()

    def start(self) -> None:
        """Start it and return when it listens."""
        # A session of its own: Ctrl-C in the terminal must end the load first.
        self._popen = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not self._listens():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise ServerFailedError(f"{' '.join(self._command)} does not listen:\n{self.log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Have it end in its own way; whatever is left after that is killed."""
        family = self._family()
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            self._popen.send_signal(signal.SIGTERM)  # make passes it on
            self._popen.wait(STOP_SECONDS)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._popen.wait()

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        number = self._log.fileno()
        # Not read(): the process writes at the same position in the file.
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")[-LOG_CHARACTERS:]

    def cpu_seconds(self) -> float:
        """The processor time it has taken, its children's included."""
        return sum(sum(process.cpu_times()[:2]) for process in self._family())

    def kilobytes(self) -> float:
        """The memory it holds, its children's included."""
        return sum(process.memory_info().rss for process in self._family()) / 1024

    def _family(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self._popen.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _listens(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), 1).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Subject:
    """What is measured: how it is started ("{port}" in its command is filled in), and who may connect to it.

    `people` are a path, a cookie and a conversation's id, of a student and of their mentor.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    people: list[tuple[Address, Address]]
    socket_class: type[ChatSocket] = ChatSocket
    cwd: Path = ROOT

    @contextmanager
    def serve(self) -> Iterator[Process]:
        """A running server of this kind."""
        process = Process(self.command, self.environment, self.cwd)
        try:
            yield process
        finally:
            process.stop()
