"""The tree of errors.

Every error that a person can see has a `message`, a sentence that says what happened and what to do, and a `code`, a short
stable word for programs. The server chooses HTTP statuses and close codes by the class of an error.
"""

from typing import ClassVar


class LegatoError(Exception):
    """The root of the tree. `str(error)` is the sentence for a person."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidError(LegatoError):
    """The input cannot be understood or is out of bounds. Nothing was stored."""

    code = "invalid"


class UnsupportedError(InvalidError):
    """The file is of a kind that is not accepted."""

    code = "unsupported"


class TooLargeError(InvalidError):
    """The file, all files of the user, or all of the user's messages, are larger than allowed."""

    code = "too_large"


class UnauthenticatedError(LegatoError):
    """There is no token, or it is forged, expired or meant for another service."""

    code = "unauthenticated"


class ForbiddenError(LegatoError):
    """The user is known, and may not do this at all. Never raised for objects of other users: those are not found."""

    code = "forbidden"


class NotFoundError(LegatoError):
    """The object does not exist, or the user may not see it: the two look exactly alike."""

    code = "not_found"


class GoneError(NotFoundError):
    """The object existed and is gone for ever. Trying again does not help."""

    code = "gone"


class ConflictError(LegatoError):
    """The request contradicts an earlier one, for example a `client_message_id` with another body."""

    code = "conflict"


class BusyError(LegatoError):
    """There is no capacity for the request now. `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OverLimitError(BusyError):
    """A person has or asks for as much as one person may. `retry_after` is in seconds."""


class StorageError(LegatoError):
    """The database could not write or read something. What was not acknowledged is not stored."""

    code = "storage"


class DiskFullError(StorageError):
    """A disk is full. The same request succeeds when there is room again."""


class StorageTimeoutError(StorageError):
    """A query took longer than allowed and was stopped."""

    code = "timeout"


class StaleError(LegatoError):
    """Another gateway owns the reply, or it has ended. Nothing was written; the caller must not go on with it."""

    code = "stale"


class SettingsError(LegatoError):
    """A setting is wrong. The message names the file, the line and a suggestion."""

    code = "settings"


class EngineError(LegatoError):
    """An engine could not generate a reply, or failed while it did.

    `retryable` says whether the same request may succeed if it is sent again, to this engine or another one.
    """

    code = "engine"
    retryable: ClassVar[bool] = False


class EngineUnavailableError(EngineError):
    """The engine cannot be reached, is overloaded, or refused with a server error.

    `retry_after` is in seconds, None if the engine did not name it. `may_be_request`: the request
    itself may be the reason, as with status 500.
    """

    code = "engine_unavailable"
    retryable = True

    def __init__(
        self, message: str, retry_after: float | None = None, *, may_be_request: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.may_be_request = may_be_request


class EngineBusyError(EngineUnavailableError):
    """The engine works and has no capacity now; the request has waited in its queue if it has one. `retry_after` is in seconds."""

    code = "engine_busy"
    retryable = False


class EngineGaveUpError(EngineError):
    """The request was tried as often as allowed, by one engine after another, and each was lost."""

    code = "engine_gave_up"


class EngineTimeoutError(EngineError):
    """The engine was silent for longer than allowed."""

    code = "engine_timeout"
    retryable = True


class EngineBrokeError(EngineError):
    """The engine stopped in the middle of a reply without reporting an end."""

    code = "engine_broke"
    retryable = True


class ReplyTooLongError(EngineBrokeError):
    """The reply is longer than allowed. The text within the limit is kept."""

    retryable = False


class ModelNotFoundError(EngineError):
    """The engine answers and does not have this model."""

    code = "model_not_found"


class EngineRefusedError(EngineError):
    """The engine understood the request and refuses it: a bad option, a wrong key, a context that is too long."""

    code = "engine_refused"


class UnsupportedOptionError(EngineRefusedError):
    """The engine cannot do what an option of the request asks for. `option` is its name in `Request`."""

    code = "unsupported_option"

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class ContextExceededError(EngineRefusedError):
    """The prompt has more tokens than the model's context. `limit` and `asked` are in tokens, None if unknown."""

    def __init__(self, message: str, limit: int | None = None, asked: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.asked = asked


class ToolError(LegatoError):
    """A tool did not do what the model requested. The model reads the message, and the reply continues."""

    code = "tool"


class UnreachableError(LegatoError):
    """A server cannot be reached now. It may be reachable later."""

    code = "unreachable"
