"""Errors that a client is told, with the machine-readable codes of the contract."""




class ClientError(Exception):
    """Something a client is told: a sentence, a `code` to translate it by, and the HTTP status over REST.

    `field` names the field of a POST that is wrong; `retry_after` is in seconds.
    """

    def __init__(
        self, code: str, text: str, status: int = 400, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.code, self.text, self.status, self.field, self.retry_after = code, text, status, field, retry_after
