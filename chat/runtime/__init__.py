"""Services of the process for all parts: event loop tasks, database threads, Redis client, rate limits, metrics.

It must not know the chat: no conversation, message, socket or event.
"""
