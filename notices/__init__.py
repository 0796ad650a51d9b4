"""Notices for people who are away: Web Push and e-mail.

The database is the queue: a conversation has a column for each side that says when its unread messages are looked at
(`chat/models/notice_times.py`). `manage.py notify_unread` takes what is due (`rounds`), reads what there is to tell
(`looks`), writes that it is being sent and sends it (`sending`), by `push` or by `mail`.
"""
