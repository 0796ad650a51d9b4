"""The open sockets of a process: handshake, delivery, healing, access checks and presence.

It must not know REST. The packages below must not import it: their events reach it over the event bus.
"""
