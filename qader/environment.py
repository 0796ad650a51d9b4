"""Reads and checks environment variables for `settings.py`; a value that cannot be right raises `environs.EnvError`."""

import base64
import re
import sys
from datetime import datetime, time
from difflib import get_close_matches
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import dj_database_url
from environs import Env, EnvError
from publicsuffixlist import PublicSuffixList

from chat.runtime.redis_address import redis_host

env = Env()

SECRET_KEY_LENGTH = 50  # characters; Django's own advice (security.W009)
DEVELOPMENT_KEY = "insecure-key-for-development-only"  # too short for DEBUG=0
HOST_NAME = r"[^\x00-\x20\x7f\[\]/?#@:,\\*]+"  # any script; no port, user, path or pattern
# A host name or an IPv6 address, and an optional port.
ORIGIN = re.compile(rf"https?://(?:\[[0-9a-f:.]+\]|{HOST_NAME})(?::[0-9]{{1,5}})?", re.IGNORECASE)
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of the curve of Web Push's keys
SMTP_PORTS = {"smtp": 25, "smtp+tls": 587, "smtp+ssl": 465}
MAX_NOTICE_SECONDS = 2.5  # a process must end within 10 s of SIGTERM, and after the notice it needs up to 7.25 s
SIMILAR = 0.85  # from this likeness on an unknown variable is taken for a misspelt one of ours


def secret_key(debug: bool) -> str:
    """Return the key that signs sessions and tokens; only DEBUG has a default."""
    key: str = env.str("SECRET_KEY", DEVELOPMENT_KEY if debug else "")
    if not key:
        raise EnvError(
            f"SECRET_KEY is required when DEBUG=0: a random text of at least {SECRET_KEY_LENGTH} characters."
        )
    if len(key) < SECRET_KEY_LENGTH and not debug:
        raise EnvError(f"SECRET_KEY is too short: take a random text of at least {SECRET_KEY_LENGTH} characters.")
    return key


def rate(name: str, default: str, burst_seconds: int) -> tuple[float, int] | None:
    """Read "5/s" or "300/m burst 20" as (tokens per second, bucket size), "0" as None.

    Without a burst the size is that of so many seconds.
    """
    text: str = env.str(name, default).strip()
    if text == "0":
        return None
    if not (match := re.fullmatch(r"(\d+)/(s|m)(?: burst (\d+))?", text)) or int(match[1]) == 0:
        raise EnvError(f'{name} must look like "5/s", "300/m burst 20" or "0", not "{text}".')
    per_second = int(match[1]) / (60 if match[2] == "m" else 1)
    return per_second, max(1, int(match[3]) if match[3] else int(per_second * burst_seconds))


def at_least(least: int, name: str, default: int) -> int:
    """Read an integer that is not smaller than `least`."""
    value: int = env.int(name, default)
    if value < least:
        raise EnvError(f"{name} must be at least {least}, not {value}.")
    return value


def between(least: float, most: float, name: str, default: float) -> float:
    """Read a decimal number from `least` to `most`."""
    value: float = env.float(name, default)
    if not least <= value <= most:
        raise EnvError(f"{name} must be between {least:g} and {most:g}, not {value:g}.")
    return value


def hours(name: str, default: str) -> tuple[time, time] | None:
    """Read hours of the day such as "21:00-07:00", which may pass midnight; None if it is empty."""
    text: str = env.str(name, default).strip()
    if not text:
        return None
    try:
        begin, end = (datetime.strptime(part, "%H:%M").time() for part in text.split("-"))
    except ValueError:
        begin = end = time()
    if begin == end:
        raise EnvError(f'{name} must look like "21:00-07:00", or be empty for none, not "{text}".')
    return begin, end


def time_zone(name: str, default: str) -> ZoneInfo:
    """Read the name of a time zone."""
    text: str = env.str(name, default).strip()
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, ZoneInfoNotFoundError):  # OSError: the name of a directory
        raise EnvError(f'{name} must be a time zone such as Asia/Riyadh, not "{text}".') from None


def proxies(name: str) -> int:
    """Read how many proxies in a row to trust; the words for true and false stand for 1 and 0."""
    text: str = env.str(name, "0").strip().lower()
    text = {"false": "0", "no": "0", "off": "0", "true": "1", "yes": "1", "on": "1"}.get(text, text)
    if not re.fullmatch("[0-9]{1,2}", text):
        raise EnvError(f'{name} must be the number of proxies in a row, such as 0, 1 or 2, not "{text}".')
    return int(text)


def texts(name: str, default: list[str]) -> list[str]:
    """Read a comma-separated list."""
    found: list[str] = env.list(name, default)
    return [text.strip() for text in found if text.strip()]


def choice(name: str, *values: str) -> str:
    """Read one of these values; the first is the default."""
    value: str = env.str(name, values[0])
    if value not in values:
        raise EnvError(f'{name} must be {" or ".join(values)}, not "{value}".')
    return value


def allowed_hosts(debug: bool) -> list[str]:
    """Return the host names of this server; "*" would accept any Host header."""
    hosts = texts("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if debug else [])
    if "*" in hosts and not debug:
        raise EnvError('ALLOWED_HOSTS must name the hosts when DEBUG=0, not "*".')
    for host in hosts:
        if not re.fullmatch(rf"\*|\[[0-9a-fA-F:.]+\]|\.?{HOST_NAME}", host):
            raise EnvError(f'ALLOWED_HOSTS takes host names without scheme, port or path, not "{host}".')
    return hosts


def origins(debug: bool) -> list[str]:
    """Return the origins of frontends on other hosts, as browsers write them."""
    found = texts("CSRF_TRUSTED_ORIGINS", [])
    for origin in found:
        if not ORIGIN.fullmatch(origin):
            raise EnvError(f'CSRF_TRUSTED_ORIGINS takes full origins such as https://qader.vip, not "{origin}".')
    development = ["http://localhost:3000", "http://127.0.0.1:3000"] if debug else []
    return [as_browsers_write(origin) for origin in found + development]


def as_browsers_write(origin: str) -> str:
    """Return an origin in lower case and without the default port of its scheme."""
    origin = origin.lower()
    default = {"http": ":80", "https": ":443"}.get(origin.partition("://")[0], ":")
    return origin.removesuffix(default)


def cookie_domain() -> str | None:
    """Return the parent domain for shared cookies, or None for cookies of this host only."""
    text: str = env.str("COOKIE_DOMAIN", "").strip()
    if text and (reason := _refused_cookie_domain(text.removeprefix("."))):
        raise EnvError(f'COOKIE_DOMAIN must be a domain such as .qader.vip, not "{text}": {reason}.')
    return text.lower() or None


def _refused_cookie_domain(domain: str) -> str | None:
    """Return why browsers would silently refuse cookies for this domain, None if they would not."""
    labels = domain.lower().split(".")
    if any(not re.fullmatch(r"(?!-)[a-z0-9_-]{1,63}(?<!-)", label) for label in labels):
        return "it is no host name in ASCII, or has a scheme, port or path"
    if re.fullmatch(r"\d+|0x[0-9a-f]*", labels[-1]):  # as https://url.spec.whatwg.org/#ends-in-a-number-checker
        return "browsers share no cookies under an IP address; leave it empty"
    if PublicSuffixList().is_public(domain.lower()):
        return "browsers accept no cookies for a name without a dot or for a public suffix; leave it empty"
    return None


def sqlite(directory: Path) -> dict[str, Any]:
    """Return the settings of an SQLite database in this directory."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": directory / "db.sqlite3",
        # IMMEDIATE: a transaction takes the write lock when it begins, instead of failing at its first write.
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 4, "init_command": "PRAGMA journal_mode=WAL"},
        # Threads cannot share an in-memory test database.
        "TEST": {"NAME": directory / "test.sqlite3"},
    }


def database(pool_size: int, directory: Path) -> dict[str, Any]:
    """Return the settings of the database at DATABASE_URL, or of an SQLite file in this directory if it is empty."""
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
    # All timeouts are below the 5 s in which handshakes, sends and HTTP answers must end; DATABASE_SERVER_OPTIONS, too.
    # reconnect_timeout: by default the pool doubles its pauses, and after an outage waits as long again as it lasted.
    given = _checked_hosts(found.get("OPTIONS", {}))
    options = {
        "pool": {"min_size": 1, "max_size": pool_size, "timeout": 3, "reconnect_timeout": 1},
        "connect_timeout": 2,  # for each host
        "tcp_user_timeout": 10_000,
        # Statements that ask for it (`prepare=True` in the chat) are prepared once per connection and keep one plan.
        # With Django's threshold, None, they would be parsed at each call; with PostgreSQL's plan_cache_mode "auto",
        # planned at each call.
        "prepare_threshold": sys.maxsize,
        "options": f"{given.get('options', '')} -c plan_cache_mode=force_generic_plan".strip(),
    }
    return found | {
        "CONN_MAX_AGE": 0,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**given, **options},
    }


def _checked_hosts(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the address; of several hosts, the one that can write is used."""
    hosts, ports = (str(options.get(name, "")).split(",") for name in ("host", "port"))
    if len(ports) not in {1, len(hosts)}:
        raise EnvError("DATABASE_URL must name one port, or one for each host.")
    return {"target_session_attrs": "read-write"} | options if len(hosts) > 1 else options


def vapid_key() -> str:
    """Return the private key of Web Push, as `manage.py make_vapid_keys` prints it; empty for none."""
    text: str = env.str("VAPID_PRIVATE_KEY", "").strip()
    if not text:
        return ""
    try:
        number = int.from_bytes(base64.urlsafe_b64decode(f"{text}=")) if re.fullmatch(r"[\w-]{43}", text, re.A) else 0
    except ValueError:
        number = 0
    if not 0 < number < P256_ORDER:
        raise EnvError("VAPID_PRIVATE_KEY is no key: take what manage.py make_vapid_keys prints.")
    return text


def vapid_subject(key: str) -> str:
    """Return whom a push service can write to; with a key it is required."""
    text: str = env.str("VAPID_SUBJECT", "").strip()
    if (text or key) and not re.fullmatch(r"mailto:[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", text):
        raise EnvError(f'VAPID_SUBJECT must be an address such as mailto:it@school.example, not "{text}".')
    return text


def host_names(name: str, default: list[str]) -> list[str]:
    """Read a list of names of hosts, in lower case. A number would be an address."""
    found = [text.lower().removeprefix(".") for text in texts(name, default)]
    for host in found:
        labels = host.split(".")
        if not all(re.fullmatch(r"(?!-)[a-z0-9-]{1,63}(?<!-)", label) for label in labels) or labels[-1].isdigit():
            raise EnvError(f'{name} takes names of hosts such as push.example.org, not "{host}".')
    return found


def email(url: str, sender: str) -> dict[str, Any]:
    """Return Django's settings for the mail server at EMAIL_URL; with one, DEFAULT_FROM_EMAIL is required."""
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    try:
        parts = urlsplit(url)
        port, default = parts.port, SMTP_PORTS[parts.scheme]
    except (ValueError, KeyError):
        parts, port, default = urlsplit(""), None, 0
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or port == 0:
        raise EnvError(
            "EMAIL_URL must look like smtp://user:password@host:587, smtp+tls:// (STARTTLS) or smtp+ssl:// (TLS)."
        )
    if not sender:
        raise EnvError("DEFAULT_FROM_EMAIL is required with EMAIL_URL: the address that e-mails come from.")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": port or default,
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_TLS": parts.scheme == "smtp+tls",
        "EMAIL_USE_SSL": parts.scheme == "smtp+ssl",
    }


def sender_address() -> str:
    """Return the address that e-mails come from, with or without a name; empty for none."""
    text: str = env.str("DEFAULT_FROM_EMAIL", "").strip()
    address = parseaddr(text)[1]
    if text and not re.fullmatch(r"[^@\s]+@[^@\s]+", address):
        raise EnvError(f'DEFAULT_FROM_EMAIL must be an address such as "Qader <chat@school.example>", not "{text}".')
    return text


def address_of(name: str, default: str) -> str:
    """Read the http or https address of a site, without a slash at its end; empty for none."""
    text: str = env.str(name, "").strip() or default
    if text and not (re.fullmatch(r"https?://[^\s?#@]+", text) and urlsplit(text).hostname):
        raise EnvError(f'{name} must be an address such as https://chat.school.example, not "{text}".')
    return text.rstrip("/")


def secret(name: str, least: int) -> str:
    """Read a secret of at least `least` characters; empty if it is not set."""
    text: str = env.str(name, "").strip()
    if text and not (len(text) >= least and re.fullmatch(r"[!-~]+", text)):
        raise EnvError(f"{name} must have at least {least} characters, none of them a space.")
    return text


def sentry_dsn() -> str:
    """Return the address for error reports, empty for none."""
    dsn: str = env.str("SENTRY_DSN", "").strip()
    if dsn and not re.fullmatch(r"https?://[^/@\s]+@[^/@\s]+/\S+", dsn):
        raise EnvError("SENTRY_DSN must be an address such as https://key@host/1.")
    return dsn


def redis_url() -> str:
    """Return the address of Redis, empty for none."""
    url: str = env.str("REDIS_URL", "")
    try:
        if url:
            redis_host(url)
    except ValueError:  # half an IPv6 address, a port that is not a number, an option with a wrong value
        raise EnvError(
            "REDIS_URL must be a redis://, rediss:// or unix:// address, with options that redis-py knows, or"
            " redis+sentinel://:password@host1:port1,host2:port2/master-name/0."
        ) from None
    return url


def refuse_misspelt(given: set[str]) -> None:
    """Raise if a variable is spelt almost like a setting: it would have no effect. Call it after all settings are read.

    A setting's name with a prefix or suffix, such as TEST_DATABASE_URL, is allowed.
    """
    known = set(env.dump())
    for name in sorted(given - known):
        for ours in get_close_matches(name, known, n=1, cutoff=SIMILAR):
            if not name.startswith(f"{ours}_") and not name.endswith(f"_{ours}"):
                raise EnvError(f"{name} is no setting; {ours} is one.")
