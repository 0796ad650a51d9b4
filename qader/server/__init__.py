"""Runs the ASGI application under daphne or uvicorn: options, startup checks, lifecycle.

The two server modules must not know Django or the chat: they get an application, a listening socket and limits.
"""
