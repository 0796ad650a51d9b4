"""What happened, and how every process learns of it: the events, and the event bus over the channel layer.

It must not know sockets, nor what is done about an event: parts that handle events register their handlers.
"""
