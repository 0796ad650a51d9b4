"""The ASGI application: HTTP goes to Django; WebSockets go to the chat, after the checks of origin and session."""

import os

import django
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
django.setup(set_prefix=False)  # before the imports below, which need the models

from accounts.addresses import PublicAddress  # noqa: E402
from accounts.middleware import AuthMiddlewareStack  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402
from qader.http.application import HttpApplication  # noqa: E402
from qader.http.body_limit import BodyLimit  # noqa: E402
from qader.http.deadline import HttpDeadline  # noqa: E402
from qader.http.origins import FullOriginValidator, OriginGuard  # noqa: E402
from qader.observability.access_log import AccessLog  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": HttpDeadline(BodyLimit(HttpApplication())),
        "websocket": OriginGuard(
            AllowedHostsOriginValidator(FullOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))),
        ),
    }
)
application = AccessLog(PublicAddress(application))
