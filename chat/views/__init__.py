"""The REST views: each asks the services, and answers with the objects of `chat.wire`. They know no socket."""
