"""The chat's reads and writes: the one write path of messages, history by `seq`, the overview of conversations.

It must not know sockets, requests or who asks: its callers have decided that they may.
"""
