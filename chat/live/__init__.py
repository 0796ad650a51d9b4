"""The open sockets of a process: how one is let in, what it is sent, and what keeps all of them complete and allowed.

It must not know REST; and nothing below it may import it, since events reach it by the event bus.
"""
