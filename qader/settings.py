"""All settings, read once from the environment; `.env.example` lists every variable.

A bad or missing value raises `environs.EnvError`; `manage.py` and `qader.serve` print it in one line and stop.
"""

import logging
import os
from pathlib import Path
from typing import Any

from environs import EnvError

from chat.runtime.redis_address import redis_host
from qader.environment import (
    MAX_NOTICE_SECONDS,
    address_of,
    allowed_hosts,
    at_least,
    between,
    choice,
    cookie_domain,
    database,
    email,
    env,
    host_names,
    hours,
    origins,
    proxies,
    rate,
    redis_url,
    refuse_misspelt,
    secret,
    secret_key,
    sender_address,
    sentry_dsn,
    texts,
    time_zone,
    vapid_key,
    vapid_subject,
)

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.bool("DEBUG", False)
SECRET_KEY = secret_key(DEBUG)
SECRET_KEY_FALLBACKS = texts("SECRET_KEY_FALLBACKS", [])
ALLOWED_HOSTS = allowed_hosts(DEBUG)
CSRF_TRUSTED_ORIGINS = origins(DEBUG)
DATABASE_POOL_SIZE = at_least(8, "DATABASE_POOL_SIZE", 20)
REDIS_URL = redis_url()
SECURE_SSL = env.bool("SECURE_SSL", not DEBUG)

# How long a starting server waits for database and Redis; how long a stopping one still serves everything, so that the
# proxy sees the red /readyz first.
START_WAIT_SECONDS = at_least(0, "START_WAIT_SECONDS", 60)
STOP_NOTICE_SECONDS = between(0, MAX_NOTICE_SECONDS, "STOP_NOTICE_SECONDS", 0 if DEBUG else 1.5)

INSTALLED_APPS = [
    "qader",
    "accounts",
    "chat",
    "notices",
    "accounts.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "corsheaders",
]

MIDDLEWARE = [
    "qader.http.database.give_back_connection",
    "qader.observability.access_log.RouteMiddleware",
    "qader.http.headers.policies",
    "qader.http.compression.compression",
    "qader.http.api.api_answers",
    "qader.http.body_limit.bodies",
    "django.middleware.security.SecurityMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "qader.http.static_files.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "qader.http.languages.LocaleMiddleware",
    "qader.http.health.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "accounts.middleware.AuthenticationMiddleware",
    "qader.http.budgets.budgets",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "qader.urls"
ASGI_APPLICATION = "qader.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Timeouts in ms for the server's PostgreSQL connections only; migrations and dumps have none. lock_timeout is short, so
# that those who wait for a locked row do not hold the threads and connections of all others: the chat tries again.
DATABASE_SERVER_OPTIONS = "-c statement_timeout=4000 -c lock_timeout=100 -c idle_in_transaction_session_timeout=10000"
DATABASES = {"default": database(DATABASE_POOL_SIZE, BASE_DIR)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Seconds. The cache only counts failed log-ins; without it people can still log in.
CACHE_TIMEOUTS = {"socket_timeout": 1, "socket_connect_timeout": 1}
# The layer in memory must not drop events: delivery limits its own queues, and Channels removes a channel with an
# expired event from all groups. For Redis protocol 2: with 3, the default, redis-py formats every incoming event for a
# debug log even if that log is off.
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "chat.bus.redis_layer.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [redis_host(REDIS_URL) | {"protocol": 2, "socket_timeout": 2, "socket_connect_timeout": 2}],
            "prefix": "qader",
        },
    }
    if REDIS_URL
    else {
        "BACKEND": "channels.layers.InMemoryChannelLayer",
        "CONFIG": {"capacity": 100_000, "expiry": 10**9, "group_expiry": 10**9},
    }
}
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": [REDIS_URL],  # a list: Django would split an address at its commas
        "KEY_PREFIX": "qader",
        "OPTIONS": CACHE_TIMEOUTS
        | {
            "pool_class": "chat.runtime.redis_address.RedisPool",
            "serializer": "accounts.integer_cache.IntegerSerializer",
        },
    }
    if REDIS_URL
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # above that number some failed log-ins are forgotten
    }
}

# Authentication.
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.authentication.NameOrEmailBackend"]
PASSWORD_HASHERS = [
    "accounts.hashers.BoundedArgon2PasswordHasher",
    "accounts.hashers.BoundedPBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
# Failed log-ins in five minutes: for one typed name from one address; from one address, or for one name from anywhere.
LOGIN_LIMIT_ACCOUNT = at_least(1, "LOGIN_LIMIT_ACCOUNT", 10)
LOGIN_LIMIT_ADDRESS = at_least(1, "LOGIN_LIMIT_ADDRESS", 100)
# Not configurable: sockets read the rows of this engine themselves.
SESSION_ENGINE = "accounts.session_store"
SESSION_COOKIE_NAME = "sessionid"
CSRF_COOKIE_NAME = "csrftoken"
SESSION_COOKIE_DOMAIN = CSRF_COOKIE_DOMAIN = cookie_domain()
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"

SECURE_SSL_REDIRECT = SECURE_SSL
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if SECURE_SSL else 0
# Subdomains and the browsers' built-in list only on request: removal from that list takes months.
HSTS_SCOPE = choice("HSTS_SCOPE", "host", "subdomains", "preload")
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_SSL and HSTS_SCOPE != "host"
SECURE_HSTS_PRELOAD = SECURE_SSL and HSTS_SCOPE == "preload"
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]  # they demand both
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# How many proxies in a row to trust. accounts.addresses reads their headers, the scheme included: Django's
# SECURE_PROXY_SSL_HEADER would not hold for sockets.
TRUST_PROXY = proxies("TRUST_PROXY")

# The origins that may open sockets may also use REST.
CORS_ALLOWED_ORIGINS = CSRF_TRUSTED_ORIGINS
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/v1/"
CORS_ALLOW_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST"]
CORS_ALLOW_HEADERS = ["content-type", "x-csrftoken"]
CORS_EXPOSE_HEADERS = ["Date", "Retry-After"]
CORS_PREFLIGHT_MAX_AGE = 600

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.SessionAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        f"rest_framework.parsers.{name}" for name in ("JSONParser", "FormParser", "MultiPartParser")
    ],
    "URL_FORMAT_OVERRIDE": None,  # REST is JSON whatever `?format=` says; the OpenAPI document reads it itself
    "EXCEPTION_HANDLER": "chat.exception_handler.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "qader.http.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Qader chat",
    "DESCRIPTION": "Students and their mentors: sign-in, history, sending. What is live is in `/api/asyncapi.yaml`.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "PATH_CONVERTER_OVERRIDES": {"row_id": int},
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "APPEND_COMPONENTS": {"securitySchemes": {"csrfToken": {"type": "apiKey", "in": "header", "name": "X-CSRFToken"}}},
    "POSTPROCESSING_HOOKS": ["qader.http.openapi.complete"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None},
}

# The languages of the page and the admin; REST answers in English, see qader.http.languages.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ar", "العربية")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 60 * 60  # s
LANGUAGE_COOKIE_SECURE = SECURE_SSL
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "qader.http.static_files.ModuleStorage"
    },
}
STATICFILES_FINDERS = ["qader.http.static_files.AppDirectoriesFinder"]  # no other directories
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_ALLOW_ALL_ORIGINS = False

# The chat's own limits.
CHAT_RATE_LIMIT = rate("CHAT_RATE_LIMIT", "5/s burst 20", burst_seconds=4)
CHAT_CONNECT_LIMIT = rate("CHAT_CONNECT_LIMIT", "60/m burst 60", burst_seconds=60)
CHAT_READ_LIMIT = rate("CHAT_READ_LIMIT", "10/s burst 60", burst_seconds=6)
ADDRESS_LIMIT = rate("ADDRESS_LIMIT", "600/m burst 600", burst_seconds=60)
CHAT_MAX_MESSAGE_LENGTH = at_least(1, "CHAT_MAX_MESSAGE_LENGTH", 4000)
CHAT_MAX_SOCKETS_PER_USER = at_least(1, "CHAT_MAX_SOCKETS_PER_USER", 20)
CHAT_HEAL_SECONDS = at_least(1, "CHAT_HEAL_SECONDS", 30)
AUDIT_KEEP_DAYS = at_least(30, "AUDIT_KEEP_DAYS", 1095)
CHAT_MAX_FRAME_BYTES = 64 * 1024  # one message of a client; a longer one closes the socket with 1009
DATA_UPLOAD_MAX_MEMORY_SIZE = 256 * 1024  # a POST; enough for 4,000 escaped code points

# Notices for people who are away: Web Push with the keys, e-mail with a server. Without both, none are sent.
VAPID_PRIVATE_KEY = vapid_key()
VAPID_SUBJECT = vapid_subject(VAPID_PRIVATE_KEY)
# Of Chrome, Firefox, Safari and Edge; each with the names below it.
PUSH_SERVICES = ["fcm.googleapis.com", "push.services.mozilla.com", "push.apple.com", "notify.windows.com"]
PUSH_ALLOWED_HOSTS = host_names("PUSH_ALLOWED_HOSTS", PUSH_SERVICES)
EMAIL_URL: str = env.str("EMAIL_URL", "").strip()
DEFAULT_FROM_EMAIL = sender_address()
globals().update(email(EMAIL_URL, DEFAULT_FROM_EMAIL))
EMAIL_TIMEOUT = 10  # s, for each answer of the mail server
FRONTEND_URL = address_of("FRONTEND_URL", "http://localhost:8000" if DEBUG else "")
BACKEND_URL = address_of("BACKEND_URL", FRONTEND_URL)
if EMAIL_URL and not FRONTEND_URL:
    raise EnvError("FRONTEND_URL is required with EMAIL_URL: the address that the e-mails' links lead to.")
# Seconds after the oldest unread message, and after the last notice.
NOTIFY_PUSH_AFTER = at_least(0, "NOTIFY_PUSH_AFTER", 120)
NOTIFY_EMAIL_AFTER = at_least(0, "NOTIFY_EMAIL_AFTER", 1800)
NOTIFY_AGAIN_AFTER = at_least(0, "NOTIFY_AGAIN_AFTER", 6 * 3600)
# The hours in which students are not disturbed, and which do not count in mentors' answer times; by the school's clock.
NOTIFY_QUIET_HOURS = hours("NOTIFY_QUIET_HOURS", "21:00-07:00")
SCHOOL_TIME_ZONE = time_zone("SCHOOL_TIME_ZONE", "Asia/Riyadh")

# /metrics requires this token; without one, only direct requests from this machine are allowed.
METRICS_TOKEN = secret("METRICS_TOKEN", 16)
SENTRY_DSN = sentry_dsn()
LOG_LEVEL: int = env.log_level("LOG_LEVEL", logging.INFO)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": f"qader.observability.log_format.{'ReadableLine' if DEBUG else 'JsonLine'}"}},
    "filters": {
        "client errors": {"()": "qader.observability.log_filters.ClientErrorsAsWarnings"},
        "no status lines": {"()": "qader.observability.log_filters.WithoutStatusLines"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    # Without Django's own handler, which would print each server error a second time.
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL, "propagate": True},
        "django.request": {"filters": ["no status lines", "client errors"]},
        # Django logs these with a traceback, and most of them as errors.
        **{
            f"django.security.{name}": {"filters": ["client errors"]}
            for name in (
                "DisallowedHost",
                "RequestDataTooBig",
                "SuspiciousOperation",
                "TooManyFieldsSent",
                "TooManyFilesSent",
            )
        },
    },
}

refuse_misspelt(set(os.environ))
