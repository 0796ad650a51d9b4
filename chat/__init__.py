"""Conversations, live."""
