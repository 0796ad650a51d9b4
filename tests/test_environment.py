"""Invalid settings stop the start with one line that names the setting."""

from datetime import time
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from environs import EnvError

from qader import environment
from qader.environment import DEVELOPMENT_KEY

DIRECTORY = Path("/nowhere")
REDIS_LINE = (
    "REDIS_URL must be a redis://, rediss:// or unix:// address, with options that redis-py knows, or"
    " redis+sentinel://:password@host1:port1,host2:port2/master-name/0."
)


def told(monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any) -> str:
    """What is said of this value."""
    monkeypatch.setenv(name, value)
    with pytest.raises(EnvError) as refused:
        read()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("key", ["", "s" * 49, DEVELOPMENT_KEY])
def test_a_missing_or_short_secret_key_is_refused(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    line = told(monkeypatch, "SECRET_KEY", key, lambda: environment.secret_key(debug=False))
    reason = "too short: take a" if key else "required when DEBUG=0: a"
    assert line == f"SECRET_KEY is {reason} random text of at least 50 characters."
    assert not key or key not in line


def test_only_development_has_a_default_secret_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECRET_KEY", raising=False)
    assert environment.secret_key(debug=True) == DEVELOPMENT_KEY
    monkeypatch.setenv("SECRET_KEY", "k" * 50)
    assert environment.secret_key(debug=False) == "k" * 50


def test_database_options_of_the_url_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@host/x?sslmode=require&options=-c%20work_mem%3D8MB")
    options = environment.database(20, DIRECTORY)["OPTIONS"]
    assert (options["sslmode"], options["options"]) == (
        "require",
        "-c work_mem=8MB -c plan_cache_mode=force_generic_plan",
    )
    monkeypatch.setenv("DATABASE_URL", "postgresql://me@host/x")
    assert environment.database(20, DIRECTORY)["OPTIONS"]["options"] == "-c plan_cache_mode=force_generic_plan"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("host=a,b&port=1,2&target_session_attrs=read-write", ("a,b", "1,2", "read-write")),
        ("host=a,b&port=1", ("a,b", "1", "read-write")),
        ("host=a,b&target_session_attrs=any", ("a,b", "None", "any")),
        ("host=a&port=1", ("a", "1", "None")),
    ],
)
def test_a_database_may_have_several_hosts(
    monkeypatch: pytest.MonkeyPatch, query: str, expected: tuple[str, ...]
) -> None:
    """Unless told otherwise, the one that can write is used."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://me:secret@/x?{query}")
    found = environment.database(20, DIRECTORY)
    names = ("host", "port", "target_session_attrs")
    assert tuple(str(found["OPTIONS"].get(name)) for name in names) == expected
    assert (found["HOST"], found["PORT"], found["USER"], found["NAME"]) == ("", "", "me", "x")


@pytest.mark.parametrize("hosts", ["*", "chat.example.org,*"])
def test_allowing_any_host_is_refused(monkeypatch: pytest.MonkeyPatch, hosts: str) -> None:
    line = told(monkeypatch, "ALLOWED_HOSTS", hosts, lambda: environment.allowed_hosts(debug=False))
    assert line == 'ALLOWED_HOSTS must name the hosts when DEBUG=0, not "*".'
    assert environment.allowed_hosts(debug=True) == hosts.split(",")


@pytest.mark.parametrize(
    "host", ["https://chat.example.org", "chat.example.org:443", "a/b", "*.example.org", "a b", "[x"]
)
def test_an_invalid_host_is_refused(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    line = told(monkeypatch, "ALLOWED_HOSTS", host, lambda: environment.allowed_hosts(debug=False))
    assert line == f'ALLOWED_HOSTS takes host names without scheme, port or path, not "{host}".'


def test_valid_hosts_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", " chat.example.org, .qader.vip,127.0.0.1,[::1],")
    assert environment.allowed_hosts(debug=False) == ["chat.example.org", ".qader.vip", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "qader.vip",
        "https://*.qader.vip",
        "https://qader.vip/",
        "https://me@qader.vip",
        "https://[x",
        "null",
        "ws://a",
    ],
)
def test_an_invalid_origin_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    line = told(monkeypatch, "CSRF_TRUSTED_ORIGINS", origin, lambda: environment.origins(debug=False))
    assert line == f'CSRF_TRUSTED_ORIGINS takes full origins such as https://qader.vip, not "{origin}".'


@pytest.mark.parametrize(
    ("value", "number"), [("0", 0), ("1", 1), ("2", 2), ("true", 1), ("Yes", 1), ("on", 1), ("False", 0), ("off", 0)]
)
def test_trusted_proxies_are_a_number(monkeypatch: pytest.MonkeyPatch, value: str, number: int) -> None:
    monkeypatch.setenv("TRUST_PROXY", value)
    assert environment.proxies("TRUST_PROXY") == number


@pytest.mark.parametrize("value", ["-1", "1.5", "nginx", "100", "²"])
def test_an_invalid_number_of_proxies_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    line = told(monkeypatch, "TRUST_PROXY", value, lambda: environment.proxies("TRUST_PROXY"))
    assert line == f'TRUST_PROXY must be the number of proxies in a row, such as 0, 1 or 2, not "{value}".'


def test_origins_are_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CSRF_TRUSTED_ORIGINS", "HTTPS://Qader.VIP:443, http://localhost:8000,http://[::1]:80")
    assert environment.origins(debug=False) == ["https://qader.vip", "http://localhost:8000", "http://[::1]"]


@pytest.mark.parametrize(
    ("name", "value", "read", "line"),
    [
        (
            "COOKIE_DOMAIN",
            "https://qader.vip",
            environment.cookie_domain,
            'COOKIE_DOMAIN must be a domain such as .qader.vip, not "https://qader.vip": '
            "it is no host name in ASCII, or has a scheme, port or path.",
        ),
        (
            "HSTS_SCOPE",
            "1",
            lambda: environment.choice("HSTS_SCOPE", "host", "subdomains"),
            'HSTS_SCOPE must be host or subdomains, not "1".',
        ),
        (
            "CHAT_HEAL_SECONDS",
            "0",
            lambda: environment.at_least(1, "CHAT_HEAL_SECONDS", 30),
            "CHAT_HEAL_SECONDS must be at least 1, not 0.",
        ),
        ("REDIS_URL", "redis+sentinel://one:1,two:2/", environment.redis_url, REDIS_LINE),
        ("REDIS_URL", "redis+sentinel://one:1,,two:2/name/0", environment.redis_url, REDIS_LINE),
        ("REDIS_URL", "redis+sentinel://one:port/name/0", environment.redis_url, REDIS_LINE),
        ("REDIS_URL", "redis+sentinel://one/name/zero", environment.redis_url, REDIS_LINE),
        ("REDIS_URL", "redis+sentinel://one/name/0?db=1", environment.redis_url, REDIS_LINE),
        (
            "REDIS_URL",
            "redis//[",
            environment.redis_url,
            REDIS_LINE,
        ),
        (
            "REDIS_URL",
            "redis://localhost/0?socket_timeout=soon",
            environment.redis_url,
            REDIS_LINE,
        ),
        (
            "REDIS_URL",
            "redis://localhost:port/0",
            environment.redis_url,
            REDIS_LINE,
        ),
        (
            "STOP_NOTICE_SECONDS",
            "-0.1",
            lambda: environment.between(0, environment.MAX_NOTICE_SECONDS, "STOP_NOTICE_SECONDS", 1.5),
            "STOP_NOTICE_SECONDS must be between 0 and 2.5, not -0.1.",
        ),
        (
            "REDIS_URL",
            "redis://[",
            environment.redis_url,
            REDIS_LINE,
        ),
        (
            "DATABASE_URL",
            "postgresql://me:secret@[/x",
            lambda: environment.database(20, DIRECTORY),
            "DATABASE_URL cannot be read: ParseError.",
        ),
        (
            "DATABASE_URL",
            "postgresql://me@/x?host=a,b,c&port=1,2",
            lambda: environment.database(20, DIRECTORY),
            "DATABASE_URL must name one port, or one for each host.",
        ),
        (
            "CHAT_RATE_LIMIT",
            "0/s",
            lambda: environment.rate("CHAT_RATE_LIMIT", "5/s", 4),
            'CHAT_RATE_LIMIT must look like "5/s", "300/m burst 20" or "0", not "0/s".',
        ),
    ],
)
def test_a_malformed_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, read: Any, line: str
) -> None:
    assert told(monkeypatch, name, value, read) == line


@pytest.mark.parametrize(
    ("text", "seconds", "read"),
    [
        ("5/s", 4, (5, 20)),
        ("60/m", 60, (1, 60)),
        ("5/m", 60, (5 / 60, 5)),
        ("5/m", 4, (5 / 60, 1)),
        ("10/s burst 60", 4, (10, 60)),
        ("0", 4, None),
    ],
)
def test_a_rate_without_a_burst_has_one_of_so_many_seconds(
    monkeypatch: pytest.MonkeyPatch, text: str, seconds: int, read: Any
) -> None:
    monkeypatch.setenv("ADDRESS_LIMIT", text)
    assert environment.rate("ADDRESS_LIMIT", "1/s", seconds) == read


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("CHAT_RATE_LIMT", "CHAT_RATE_LIMIT"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("CSRF_TRUSTED_ORIGIN", "CSRF_TRUSTED_ORIGINS"),
        ("REDIS_URI", "REDIS_URL"),
        ("SECRET_KEY_FALLBACK", "SECRET_KEY_FALLBACKS"),
        ("LOGLEVEL", "LOG_LEVEL"),
    ],
)
def test_a_misspelled_setting_is_refused(given: str, ours: str) -> None:
    with pytest.raises(EnvError, match=rf"^{given} is no setting; {ours} is one\.$"):
        environment.refuse_misspelt({"PATH", given, "DEBUG"})


def test_unrelated_names_are_ignored() -> None:
    others = {
        "TEST_DATABASE_URL",
        "DATABASE_URL_REPLICA",
        "CHAT_SERVICE_HOST",
        "CHAT_PORT_8000_TCP",
        "REDIS_PORT",
        "HOST",
    }
    environment.refuse_misspelt(others)


NO_NAME = "it is no host name in ASCII, or has a scheme, port or path"
ADDRESS = "browsers share no cookies under an IP address; leave it empty"
SUFFIX = "browsers accept no cookies for a name without a dot or for a public suffix; leave it empty"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, SUFFIX) for text in ("localhost", ".localhost", "LOCALHOST", "web", "com", ".vip", "co.uk", "com.sa")),
        *((text, SUFFIX) for text in ("vercel.app", "Netlify.App", "github.io", "xn--mgberp4a5d4ar")),
        *((text, ADDRESS) for text in ("127.0.0.1", ".10.0.0.1", "127.1", "0x7f.1", "example.0x7f")),
        *((text, NO_NAME) for text in ("localhost:8000", "qader.vip:443", "http://localhost", "//qader.vip", "[::1]")),
        *((text, NO_NAME) for text in ("::1", "qader.vip/", "qader.vip.", "..qader.vip", ".", "*.qader.vip")),
        *((text, NO_NAME) for text in ("a.vip,b.vip", "a.vip b.vip", "qader.vip;", "قادر.vip", "-a.vip", "a-.vip")),
        ("a" * 64 + ".vip", NO_NAME),
    ],
)
def test_a_cookie_domain_that_browsers_would_refuse_is_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    line = f'COOKIE_DOMAIN must be a domain such as .qader.vip, not "{text}": {reason}.'
    assert told(monkeypatch, "COOKIE_DOMAIN", text, environment.cookie_domain) == line


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("", None),
        ("  ", None),
        ("qader.vip", "qader.vip"),
        (".Qader.vip", ".qader.vip"),
        ("app.internal", "app.internal"),
        ("qader.vercel.app", "qader.vercel.app"),
        ("xn--mgbh0fb.example", "xn--mgbh0fb.example"),
    ],
)
def test_other_cookie_domains_are_taken(monkeypatch: pytest.MonkeyPatch, text: str, domain: str | None) -> None:
    monkeypatch.setenv("COOKIE_DOMAIN", text)
    assert environment.cookie_domain() == domain


def problems(settings: Any, **changed: Any) -> list[str]:
    for name, value in changed.items():
        setattr(settings, name, value)
    return [message.msg for message in run_checks(tags=["security"])]


def test_checks_find_contradicting_settings(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS = ["chat.qader.vip", "[::1]"], []
    trusted = ["https://app.qader.vip", "https://chat.qader.vip:8443", "http://[::1]:3000"]
    assert problems(settings) == []
    assert problems(settings, CSRF_TRUSTED_ORIGINS=trusted) == [
        "The host of https://app.qader.vip in CSRF_TRUSTED_ORIGINS must be in ALLOWED_HOSTS, too."
    ]
    assert problems(settings, ALLOWED_HOSTS=[".qader.vip", "[::1]"]) == []
    assert problems(settings, ALLOWED_HOSTS=[]) == ["ALLOWED_HOSTS is empty: every request would be refused."]
    assert problems(settings, DEBUG=True) == []


def test_a_cookie_domain_without_any_of_our_hosts_is_found(settings: Any) -> None:
    settings.ALLOWED_HOSTS, settings.CSRF_TRUSTED_ORIGINS = ["chat.qader.vip", "qader.vip"], []
    line = "No host in ALLOWED_HOSTS is in COOKIE_DOMAIN, {}: nobody could sign in."
    for domain in (None, "qader.vip", ".qader.vip", "chat.qader.vip"):
        assert problems(settings, SESSION_COOKIE_DOMAIN=domain) == []
    for domain in ("example.org", "other.qader.vip", "er.vip"):
        assert problems(settings, SESSION_COOKIE_DOMAIN=f".{domain}") == [line.format(domain)]
    assert problems(settings, ALLOWED_HOSTS=[".other.qader.vip"], SESSION_COOKIE_DOMAIN="other.qader.vip") == []
    assert problems(settings, SESSION_COOKIE_DOMAIN="example.org", DEBUG=True) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("21:00-07:00", (time(21), time(7))), (" 12:30-13:05 ", (time(12, 30), time(13, 5)))],
)
def test_hours_may_pass_midnight_or_be_none(monkeypatch: pytest.MonkeyPatch, text: str, expected: object) -> None:
    monkeypatch.setenv("NOTIFY_QUIET_HOURS", text)
    assert environment.hours("NOTIFY_QUIET_HOURS", "01:00-02:00") == expected


@pytest.mark.parametrize("text", ["21-7", "21:00", "21:00-24:00", "7:00-7:00", "21:00-07:00-08:00", "-", "night"])
def test_hours_that_make_no_sense_are_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    line = told(monkeypatch, "NOTIFY_QUIET_HOURS", text, lambda: environment.hours("NOTIFY_QUIET_HOURS", ""))
    assert line == f'NOTIFY_QUIET_HOURS must look like "21:00-07:00", or be empty for none, not "{text}".'


@pytest.mark.parametrize("text", ["", "Riyadh", "Asia", "Asia/", "../etc/passwd", "/etc/localtime", "+03:00"])
def test_an_unknown_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    line = told(monkeypatch, "SCHOOL_TIME_ZONE", text, lambda: environment.time_zone("SCHOOL_TIME_ZONE", "UTC"))
    assert line == f'SCHOOL_TIME_ZONE must be a time zone such as Asia/Riyadh, not "{text}".'
    monkeypatch.setenv("SCHOOL_TIME_ZONE", "Europe/Berlin")
    assert environment.time_zone("SCHOOL_TIME_ZONE", "UTC").key == "Europe/Berlin"


KEY = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"


def test_a_key_of_web_push_is_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAPID_PRIVATE_KEY", f" {KEY} ")
    assert environment.vapid_key() == KEY
    monkeypatch.delenv("VAPID_PRIVATE_KEY")
    assert environment.vapid_key() == ""


@pytest.mark.parametrize("key", ["key", KEY[:-1], f"{KEY}A", "A" * 43, "_" * 43, f"{KEY[:-1]}!", "ä" * 43])
def test_another_key_is_refused_and_not_told(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    line = told(monkeypatch, "VAPID_PRIVATE_KEY", key, environment.vapid_key)
    assert line == "VAPID_PRIVATE_KEY is no key: take what manage.py make_vapid_keys prints."


def test_a_key_needs_somebody_to_write_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAPID_SUBJECT", "mailto:it@school.example")
    assert environment.vapid_subject(KEY) == environment.vapid_subject("") == "mailto:it@school.example"
    for subject in ("", "it@school.example", "mailto:it", "mailto:it@localhost", "https://school.example"):
        line = told(monkeypatch, "VAPID_SUBJECT", subject, lambda: environment.vapid_subject(KEY))
        assert line == f'VAPID_SUBJECT must be an address such as mailto:it@school.example, not "{subject}".'
    monkeypatch.delenv("VAPID_SUBJECT")
    assert environment.vapid_subject("") == ""


def test_push_services_are_names_of_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_ALLOWED_HOSTS", "Push.Example.org, .services.example")
    found = environment.host_names("PUSH_ALLOWED_HOSTS", ["default"])
    assert found == ["push.example.org", "services.example"]
    for text in (
        "https://a.example",
        "a.example:443",
        "10.0.0.1",
        "*.example",
        "a..example",
        "[::1]",
        "user@a.example",
    ):
        line = told(monkeypatch, "PUSH_ALLOWED_HOSTS", text, lambda: environment.host_names("PUSH_ALLOWED_HOSTS", []))
        assert line == f'PUSH_ALLOWED_HOSTS takes names of hosts such as push.example.org, not "{text}".'


SMTP = "django.core.mail.backends.smtp.EmailBackend"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", ("mail.example", 25, "", "", False, False)),
        ("smtp://me:p%40ss@mail.example:587", ("mail.example", 587, "me", "p@ss", False, False)),
        ("smtp+tls://me:pw@mail.example", ("mail.example", 587, "me", "pw", True, False)),
        ("smtp+ssl://me:pw@mail.example/", ("mail.example", 465, "me", "pw", False, True)),
    ],
)
def test_a_mail_server_is_one_address(url: str, expected: tuple[Any, ...]) -> None:
    found = environment.email(url, "chat@school.example")
    assert found.pop("EMAIL_BACKEND") == SMTP
    assert tuple(found.values()) == expected
    names = ["HOST", "PORT", "HOST_USER", "HOST_PASSWORD", "USE_TLS", "USE_SSL"]
    assert list(found) == [f"EMAIL_{name}" for name in names]


@pytest.mark.parametrize(
    "url", ["mail.example", "http://mail.example", "smtp://", "smtp://a:x", "smtp://a:0", "smtp://a/b", "smtp://a?b=c"]
)
def test_another_address_of_a_mail_server_is_refused_and_not_told(url: str) -> None:
    with pytest.raises(EnvError) as refused:
        environment.email(url, "chat@school.example")
    form = "smtp://user:password@host:587, smtp+tls:// (STARTTLS) or smtp+ssl:// (TLS)"
    assert str(refused.value) == f"EMAIL_URL must look like {form}."


def test_a_mail_server_needs_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvError, match=r"^DEFAULT_FROM_EMAIL is required with EMAIL_URL: "):
        environment.email("smtp://mail.example", "")
    assert environment.email("", "") == {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    for address in ("Qader <chat@school.example>", "chat@school.example", ""):
        monkeypatch.setenv("DEFAULT_FROM_EMAIL", address)
        assert environment.sender_address() == address
    line = told(monkeypatch, "DEFAULT_FROM_EMAIL", "Qader", environment.sender_address)
    assert line == 'DEFAULT_FROM_EMAIL must be an address such as "Qader <chat@school.example>", not "Qader".'


def test_the_addresses_of_links_are_those_of_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTEND_URL", "https://chat.school.example/app/")
    assert environment.address_of("FRONTEND_URL", "") == "https://chat.school.example/app"
    monkeypatch.setenv("FRONTEND_URL", "")
    assert environment.address_of("FRONTEND_URL", "https://x.example") == "https://x.example"
    for text in (
        "chat.school.example",
        "ftp://x",
        "https://",
        "https://x?y",
        "https://x#y",
        "https://a b",
        "https://u@x",
    ):
        line = told(monkeypatch, "FRONTEND_URL", text, lambda: environment.address_of("FRONTEND_URL", ""))
        assert line == f'FRONTEND_URL must be an address such as https://chat.school.example, not "{text}".'
