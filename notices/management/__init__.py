"""The commands of the notices."""
