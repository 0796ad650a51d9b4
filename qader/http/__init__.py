"""HTTP and the handshake before the chat: ASGI wrappers, Django middleware, and the views that belong to no app.

It must not know which server runs it, nor how requests are logged and counted.
"""
