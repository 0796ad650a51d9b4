"""Users, profiles and sessions: who a person is, and who sends a request.

It must not know the chat or the server.
"""
