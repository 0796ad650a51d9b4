"""What clients and the server write to each other: every frame and object, how it is read and refused, its schema.

It must not know how anything is stored, delivered or authorised: it only turns rows and events into objects and back.
"""
