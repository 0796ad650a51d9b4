"""The wire format: every frame and object, its validation, and its schema.

It must not know how anything is stored, delivered or authorised. It only converts rows and events to objects, and back.
"""
