"""What the people responsible do about people and conversations, with a trace. The admin, commands and REST call it;
it stands between the services and the store.
"""
