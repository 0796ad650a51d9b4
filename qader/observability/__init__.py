"""Logs, metrics and error reports: what the operator sees of requests, sockets and failures.

It must not know which server runs it, nor change an answer; an exception's text must never leave it.
"""
