"""The values of the cache on Redis: integers, and nothing else."""


class IntegerSerializer:
    """Instead of Django's, which unpickles what it reads: who may write to Redis could run code here."""

    def dumps(self, value: int) -> int:
        """Return the integer; raises `TypeError` for anything else."""
        if type(value) is not int:
            raise TypeError(f"the cache holds integers, not {type(value).__name__}")
        return value

    def loads(self, data: bytes) -> int:
        """Return the integer; 0 for anything else, which is not from us."""
        try:
            return int(data)
        except ValueError:
            return 0
