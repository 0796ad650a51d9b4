"""The ASGI application: HTTP goes to Django, WebSockets by way of origin and session to the chat's consumers."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "qader.settings")
http_application = get_asgi_application()  # loads the apps, whose models the imports below need

from accounts.middleware import AuthMiddlewareStack  # noqa: E402
from chat.routing import websocket_urlpatterns  # noqa: E402
from qader.access import Access  # noqa: E402
from qader.body import BodyLimit  # noqa: E402
from qader.deadline import HttpDeadline  # noqa: E402
from qader.origins import FullOriginValidator, OriginGuard  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": HttpDeadline(BodyLimit(http_application)),
        "websocket": OriginGuard(
            AllowedHostsOriginValidator(FullOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))),
        ),
    }
)
application = Access(application)
