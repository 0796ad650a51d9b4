"""Reads what the settings need from the environment; whatever cannot be right raises `environs.EnvError`."""

import re
import sys
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from environs import Env, EnvError
from redis.connection import parse_url

env = Env()

SECRET_KEY_LENGTH = 50  # characters; Django's own advice (security.W009)
DEVELOPMENT_KEY = "insecure-key-for-development-only"  # short, so that it starts nothing but development
# A host name or an IPv6 address, with a port perhaps; no user, no path, no pattern.
ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[^\x00-\x20\x7f\[\]/?#@:,\\*]+)(?::[0-9]{1,5})?", re.IGNORECASE)
MAX_NOTICE_SECONDS = 2.5  # a process must end within 10 s of SIGTERM, and what follows the notice takes up to 7.25
SIMILAR = 0.85  # how like ours a name is that must be meant for ours


def secret_key(debug: bool) -> str:
    """Return the key that signs sessions and tokens; only DEBUG has one of its own."""
    key: str = env.str("SECRET_KEY", DEVELOPMENT_KEY if debug else "")
    if not key:
        raise EnvError(
            f"SECRET_KEY is required when DEBUG=0: a random text of at least {SECRET_KEY_LENGTH} characters."
        )
    if len(key) < SECRET_KEY_LENGTH and not debug:
        raise EnvError(f"SECRET_KEY is too short: take a random text of at least {SECRET_KEY_LENGTH} characters.")
    return key


def rate(name: str, default: str) -> tuple[float, int] | None:
    """Read "5/s" or "300/m burst 20" as (tokens per second, bucket size); "0" as None. Default burst: 4 s."""
    text: str = env.str(name, default).strip()
    if text == "0":
        return None
    if not (match := re.fullmatch(r"(\d+)/(s|m)(?: burst (\d+))?", text)) or int(match[1]) == 0:
        raise EnvError(f'{name} must look like "5/s", "300/m burst 20" or "0", not "{text}".')
    per_second = int(match[1]) / (60 if match[2] == "m" else 1)
    return per_second, max(1, int(match[3]) if match[3] else int(per_second * 4))


def at_least(least: int, name: str, default: int) -> int:
    """Read a number that must not be smaller."""
    value: int = env.int(name, default)
    if value < least:
        raise EnvError(f"{name} must be at least {least}, not {value}.")
    return value


def between(least: float, most: float, name: str, default: float) -> float:
    """Read a number with a fraction that must be neither smaller nor larger."""
    value: float = env.float(name, default)
    if not least <= value <= most:
        raise EnvError(f"{name} must be between {least:g} and {most:g}, not {value:g}.")
    return value


def texts(name: str, default: list[str]) -> list[str]:
    """Read texts separated by commas."""
    found: list[str] = env.list(name, default)
    return [text.strip() for text in found if text.strip()]


def choice(name: str, *values: str) -> str:
    """Read one of these values; the first is the default."""
    value: str = env.str(name, values[0])
    if value not in values:
        raise EnvError(f'{name} must be {" or ".join(values)}, not "{value}".')
    return value


def allowed_hosts(debug: bool) -> list[str]:
    """Return the host names that are ours; "*" would believe whatever host a request claims."""
    hosts = texts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if debug else [])
    if "*" in hosts and not debug:
        raise EnvError('ALLOWED_HOSTS must name the hosts when DEBUG=0, not "*".')
    for host in hosts:
        if not re.fullmatch(r"\*|\[[0-9a-fA-F:.]+\]|\.?[^\x00-\x20\x7f\[\]/?#@:,\\*]+", host):
            raise EnvError(f'ALLOWED_HOSTS takes host names without scheme, port or path, not "{host}".')
    return hosts


def origins(debug: bool) -> list[str]:
    """Return the full origins of frontends elsewhere, as browsers write them."""
    found = texts("CSRF_TRUSTED_ORIGINS", [])
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise EnvError(f'CSRF_TRUSTED_ORIGINS takes full origins such as https://qader.vip, not "{origin}".')
    development = ["http://localhost:3000", "http://127.0.0.1:3000"] if debug else []
    return [as_browsers_write(origin) for origin in found + development]


def as_browsers_write(origin: str) -> str:
    """Return an origin in lower case and without the port that its scheme has anyway."""
    origin = origin.lower()
    default = {"http": ":80", "https": ":443"}.get(origin.partition("://")[0], ":")
    return origin.removesuffix(default)


def cookie_domain() -> str | None:
    """Return the parent domain that cookies are shared under; None: they stay with this host."""
    domain: str = env.str("COOKIE_DOMAIN", "")
    if not re.fullmatch(r"|\.?[^\x00-\x20\x7f\[\]/?#@:,;\\*]+", domain):
        raise EnvError(f'COOKIE_DOMAIN must be a domain such as .qader.vip, not "{domain}".')
    return domain or None


def sqlite(directory: Path) -> dict[str, Any]:
    """Return the settings of a database in a file."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": directory / "db.sqlite3",
        # IMMEDIATE: a transaction that will write takes its lock first, instead of failing half-way.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 4, "init_command": "PRAGMA journal_mode=WAL"},
        # Threads cannot share an in-memory test database.
        "TEST": {"NAME": directory / "test.sqlite3"},
    }


def database(pool_size: int, directory: Path) -> dict[str, Any]:
    """Return the settings of the database at DATABASE_URL; without one, of a file in this directory."""
    url: str = env.str("DATABASE_URL", "")
    if not url:
        return sqlite(directory)
    try:
        found: dict[str, Any] = dict(dj_database_url.parse(url))
    except (ValueError, dj_database_url.ParseError, dj_database_url.UnknownSchemeError) as error:
        raise EnvError(f"DATABASE_URL cannot be read: {type(error).__name__}.") from None
    if found["ENGINE"] == "django.db.backends.sqlite3":
        return sqlite(directory) | {"NAME": found["NAME"]}
    if found["ENGINE"] != "django.db.backends.postgresql":
        raise EnvError("DATABASE_URL must be a postgresql:// or a sqlite:// address.")
    # Below the 5 s in which a handshake, a send and an HTTP answer must end, as is DATABASE_SERVER_OPTIONS.
    # By default the pool waits longer from attempt to attempt: once the database is back, as long again as it was away.
    given = found.get("OPTIONS", {})
    options = {
        "pool": {"min_size": 1, "max_size": pool_size, "timeout": 3, "reconnect_timeout": 1},
        "connect_timeout": 3,
        "tcp_user_timeout": 10_000,
        # What asks to be prepared (chat.runtime.database.fetch) is planned once per connection. With
        # Django's threshold, None, it would be parsed and planned at each call; by PostgreSQL's own choice, planned.
        "prepare_threshold": sys.maxsize,
        "options": f"{given.get('options', '')} -c plan_cache_mode=force_generic_plan".strip(),
    }
    return found | {
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**given, **options},
    }


def secret(name: str, least: int) -> str:
    """Read a text that nobody may guess; empty where there is none."""
    text: str = env.str(name, "").strip()
    if text and not (len(text) >= least and re.fullmatch(r"[!-~]+", text)):
        raise EnvError(f"{name} must have at least {least} characters, none of them a space.")
    return text


def sentry_dsn() -> str:
    """Return the address that errors are reported to; empty: to nobody."""
    dsn: str = env.str("SENTRY_DSN", "").strip()
    if dsn and not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/\S+", dsn):
        raise EnvError("SENTRY_DSN must be an address such as https://key@host/1.")
    return dsn


def redis_url() -> str:
    """Return the address of Redis, empty for none."""
    url: str = env.str("REDIS_URL", "")
    try:
        if url:
            parse_url(url)  # type: ignore[no-untyped-call]
        known = urlsplit(url).port != 0
    except ValueError:  # half an IPv6 address, a port that is no number, an option that is not what it should be
        known = False
    if not known:
        raise EnvError("REDIS_URL must be a redis://, rediss:// or unix:// address, with options that redis-py knows.")
    return url


def refuse_misspelt(given: set[str]) -> None:
    """Raise where a variable is called nearly as one of ours, all of which have been read: it would do nothing.

    TEST_DATABASE_URL or DATABASE_URL_OF_A_REPLICA are something else.
    """
    known = set(env.dump())
    for name in sorted(given - known):
        for ours in get_close_matches(name, known, n=1, cutoff=SIMILAR):
            if not name.startswith(f"{ours}_") and not name.endswith(f"_{ours}"):
                raise EnvError(f"{name} is no setting; {ours} is one.")
