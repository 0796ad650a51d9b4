"""The server's connections to PostgreSQL: they wait for no server that does not answer."""

from typing import Any, ClassVar, Self

import psycopg
from psycopg.errors import OperationalError, _WaitTimeout

from chat.runtime.database import distrust_connections


class NoAnswerError(OperationalError):
    """The server did not answer in time; the connection is closed."""


class ServerConnection(psycopg.Connection[Any]):
    """A connection of the pool.

    A host that is frozen or cut off still holds its TCP connections: without a limit, threads would wait for it for
    ever, also after a standby has been promoted. Where `DATABASE_URL` names several hosts, new connections try first
    the one that answered last.
    """

    answer_seconds: ClassVar[float] = 4.5  # PostgreSQL itself ends a statement after 4 (DATABASE_SERVER_OPTIONS)
    _latest: ClassVar[tuple[str, str] | None] = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for an answer, at most `answer_seconds`; then close this connection, and distrust the others."""
        try:
            return super().wait(gen, interval, timeout or self.answer_seconds)
        except _WaitTimeout:
            self.close()
            distrust_connections()
            raise NoAnswerError("the database did not answer in time") from None

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Connect to the first host that can be used."""
        connection = super().connect(conninfo, **cls._ordered(options))
        cls._latest = connection.info.host, str(connection.info.port)
        return connection

    @classmethod
    def _ordered(cls, options: dict[str, Any]) -> dict[str, Any]:
        hosts, ports = (str(options.get(name, "")).split(",") for name in ("host", "port"))
        pairs = list(zip(hosts, ports if len(ports) > 1 else ports * len(hosts), strict=True))
        if cls._latest not in pairs:
            return options
        pairs.sort(key=lambda pair: pair != cls._latest)
        return options | {"host": ",".join(pair[0] for pair in pairs), "port": ",".join(pair[1] for pair in pairs)}
