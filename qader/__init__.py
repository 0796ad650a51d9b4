"""The project: settings, URLs, the ASGI application, and packages for the server, for HTTP and for observability."""
