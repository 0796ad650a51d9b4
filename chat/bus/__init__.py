"""Events, and the event bus that carries them to every process over the channel layer.

It must not know sockets, nor how an event is handled: other parts register their handlers.
"""
