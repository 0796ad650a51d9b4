"""The chat's reads and writes: the one write path of messages, history by `seq`, the overview of conversations.

It must not know sockets or requests, and does not check access: its callers have done so.
"""
