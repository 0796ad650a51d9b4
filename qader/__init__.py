"""The wiring: settings, URLs, the ASGI application, the server."""
