"""The errors that clients receive, with the machine-readable codes of the contract."""

import json
from enum import IntEnum
from http import HTTPStatus
from typing import Literal

FrameCode = Literal[
    "account_locked",
    "conversation_closed",
    "conversation_locked",
    "conversation_not_established",
    "empty_message",
    "invalid_characters",
    "invalid_frame",
    "invalid_json",
    "message_not_found",
    "message_too_long",
    "rate_limited",
    "temporarily_unavailable",
]
"""Codes on sockets."""

RestCode = Literal[
    "conversation_not_found",
    "csrf_failed",
    "endpoint_not_allowed",
    "internal_error",
    "invalid_keys",
    "invalid_parameter",
    "invalid_request",
    "method_not_allowed",
    "no_mentor",
    "no_profile",
    "not_a_mentor",
    "not_a_participant",
    "not_a_student",
    "not_acceptable",
    "not_authenticated",
    "not_found",
    "own_message",
    "page_not_found",
    "push_not_configured",
    "reason_too_long",
    "too_many_sockets",
    "unsupported_media_type",
    "wrong_credentials",
]
"""Further codes over REST, and of refused handshakes."""

Code = FrameCode | RestCode

ERROR_CODES: dict[Code, str] = {
    "account_locked": "This person is locked: they can read over REST, and nothing else.",
    "conversation_closed": "The student has another mentor now: the conversation can only be read.",
    "conversation_locked": "The platform's staff has locked the conversation: it can only be read.",
    "conversation_not_established": "Only pings can be sent on an inbox.",
    "empty_message": "Only white space. As in v1, a frame with neither `type` nor `message` counts as empty.",
    "invalid_characters": "The text contains NUL or lone surrogates.",
    "invalid_frame": "Not a JSON object, an unknown frame type, or a field of the wrong type.",
    "invalid_json": "Not valid JSON.",
    "message_not_found": "No message of this conversation has that id.",
    "message_too_long": "More code points than the server accepts.",
    "rate_limited": "Too many messages, frames, requests or handshakes: wait `retry_after` seconds.",
    "temporarily_unavailable": "The message may not have been stored: repeat it with the same `client_id`.",
    "conversation_not_found": "There is no such conversation of this user.",
    "csrf_failed": "The CSRF token is missing or wrong, or the page's origin is not ours: fetch a new token.",
    "endpoint_not_allowed": "No push may be sent to this address: it is none of the browsers' services.",
    "internal_error": "The server failed.",
    "invalid_keys": "The keys of the subscription are missing or wrong.",
    "invalid_parameter": "A query parameter has a wrong value, contradicts another one, or is given twice.",
    "invalid_request": "The request is malformed, has too many parameters, or lacks a field.",
    "method_not_allowed": "This path has no such method.",
    "no_mentor": "The student has no mentor now.",
    "no_profile": "The user has no profile that could hold this.",
    "not_a_mentor": "For teachers and trainers only.",
    "not_a_participant": "The user is no participant of this conversation, or has no conversations.",
    "not_a_student": "For students only.",
    "not_acceptable": "The `Accept` header or `format` excludes every form of the answer.",
    "not_authenticated": "Nobody is signed in.",
    "not_found": "There is nothing at this path.",
    "own_message": "Only what the other side wrote can be reported.",
    "page_not_found": "The list has no such page.",
    "push_not_configured": "The server has no key for Web Push.",
    "reason_too_long": "The reason of a report has more than 1,000 code points.",
    "too_many_sockets": "Too many open sockets of this user.",
    "unsupported_media_type": "The body is neither JSON nor a form.",
    "wrong_credentials": "Wrong user name or password.",
}

# The code of an answer whose error has none of its own, such as those that Django and DRF make.
STATUS_CODES: dict[int, Code] = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "csrf_failed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "message_too_long",
    415: "unsupported_media_type",
    429: "rate_limited",
    500: "internal_error",
    503: "temporarily_unavailable",
}


def problem_of(status: int) -> bytes:
    """Return the JSON text of an error that has only a status."""
    code = STATUS_CODES.get(status, "invalid_request" if status < 500 else "internal_error")
    return json.dumps({"detail": HTTPStatus(status).phrase.capitalize() + ".", "code": code}).encode()


class CloseCode(IntEnum):
    """Why the server closes a socket; `meaning` says what happened and what the client should do."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "CloseCode":
        """Return the code: an integer that also has a `meaning`."""
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member

    TOO_BIG = 1009, "A frame was larger than 64 KiB: do not repeat it."
    INTERNAL_ERROR = 1011, "The server failed: reconnect with `after`."
    RESTARTING = 1012, "The server restarts: reconnect with `after`."
    TRY_LATER = 1013, "The client reads too slowly, or the database is unreachable: reconnect later with `after`."
    SESSION_ENDED = 4401, "Signed out, session expired, password changed, or user deactivated: sign in."
    NOT_ALLOWED = 4403, "The user may not use this socket any more: ask REST for the present conversation."
    NOT_FOUND = 4404, "The conversation does not exist: ask REST for the present one."
    FLOOD = 4429, "More than 100 refused frames in 10 seconds, too many sockets or too many handshakes: wait."


RETRY_SECONDS = 5  # after which a client that got a 503 over HTTP should try again


class ClientError(Exception):
    """An error that is sent to a client: a sentence, a `code` to translate it by, and its HTTP status.

    `field` names the field of a POST that is wrong; `retry_after` is in seconds.
    """

    def __init__(
        self, code: Code, text: str, status: int = 400, *, field: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.code, self.text, self.status, self.field, self.retry_after = code, text, status, field, retry_after


# Why a conversation takes no message, in the order in which these are looked for.
REFUSALS: dict[Code, str] = {
    "account_locked": "This account is locked.",
    "conversation_closed": "This conversation is closed.",
    "conversation_locked": "This conversation is locked.",
}


def refusal(code: Code) -> ClientError:
    """Return the error with which a message is refused that may not be written."""
    return ClientError(code, REFUSALS[code], 403)


class UnavailableError(ClientError):
    """The database failed or did not answer in time; it is unknown whether something was stored."""

    def __init__(self) -> None:
        super().__init__("temporarily_unavailable", "Temporarily unavailable. Try again.", 503)
