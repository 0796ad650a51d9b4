"""What the process gives to all parts: event loop tasks, database threads, the Redis client, rate limits, metrics.

It must not know the chat: no conversation, message, socket or event.
"""
