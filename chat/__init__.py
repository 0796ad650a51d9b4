"""The chat app: conversations, and the live delivery of their messages."""
