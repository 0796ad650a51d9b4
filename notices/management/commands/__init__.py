"""The management commands, one file for each."""
