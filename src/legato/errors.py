"""The one tree of errors.

Every error a person can meet carries `message`, a sentence that says what happened and what to do, and `code`,
a short stable word for programs. HTTP statuses and close codes are chosen from the class at the edge, never here.
"""

from typing import ClassVar


class LegatoError(Exception):
    """The root of the tree. `str(error)` is the sentence for a person."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidError(LegatoError):
    """What was sent cannot be understood or is out of bounds. Nothing was stored."""

    code = "invalid"


class UnsupportedError(InvalidError):
    """A file is of a kind that is not taken."""

    code = "unsupported"


class TooLargeError(InvalidError):
    """A file, or all of a person's together, is larger than it may be."""

    code = "too_large"


class UnauthenticatedError(LegatoError):
    """No token, or one that is forged, expired or meant for somebody else."""

    code = "unauthenticated"


class ForbiddenError(LegatoError):
    """It is known who asks, and that they may not do this at all. Never said of somebody else's things."""

    code = "forbidden"


class NotFoundError(LegatoError):
    """There is no such thing, or it is not this person's: the two look exactly alike."""

    code = "not_found"


class ConflictError(LegatoError):
    """The request contradicts one that was already taken, such as a `client_message_id` with another body."""

    code = "conflict"


class BusyError(LegatoError):
    """There is no room for this now. `retry_after` is in seconds."""

    code = "busy"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StorageError(LegatoError):
    """The database could not take or give something. What was not acknowledged is not stored."""

    code = "storage"


class StaleError(LegatoError):
    """Another gateway owns the reply, or it has ended. Nothing was written; the caller must not go on with it."""

    code = "stale"


class SettingsError(LegatoError):
    """A setting is wrong. The sentence names the file, the line and what was probably meant."""

    code = "settings"


class EngineError(LegatoError):
    """An engine could not write a reply, or broke while writing it.

    `retryable` says whether the same request may succeed if it is tried again, here or elsewhere.
    """

    code = "engine"
    retryable: ClassVar[bool] = False


class EngineUnavailableError(EngineError):
    """The engine cannot be reached, is overloaded, or refused with a server error.

    `retry_after` is in seconds, where the engine told it. `may_be_request`: this request alone
    may be why, as with status 500.
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
    """The engine is well and has no room for this now; it has waited its turn where it may. `retry_after` is in seconds."""

    code = "engine_busy"
    retryable = False


class EngineGaveUpError(EngineError):
    """It was tried as often as it may be, by one engine after another, and each was lost over it."""

    code = "engine_gave_up"


class EngineTimeoutError(EngineError):
    """The engine was silent for longer than it may be."""

    code = "engine_timeout"
    retryable = True


class EngineBrokeError(EngineError):
    """The engine stopped in the middle of a reply without an ending of its own."""

    code = "engine_broke"
    retryable = True


class ReplyTooLongError(EngineBrokeError):
    """The reply grew beyond what one may hold. What was written within the limit is kept."""

    retryable = False


class ModelNotFoundError(EngineError):
    """The engine is there and does not have this model."""

    code = "model_not_found"


class EngineRefusedError(EngineError):
    """The engine understood the request and refuses it: a bad option, a key that is wrong, a context too long."""

    code = "engine_refused"


class ContextExceededError(EngineRefusedError):
    """The prompt has more tokens than the model's context. `limit` and `asked` are in tokens, None if they were not told."""

    def __init__(self, message: str, limit: int | None = None, asked: int | None = None) -> None:
        super().__init__(message)
        self.limit = limit
        self.asked = asked


class ToolError(LegatoError):
    """A tool did not do what the model asked for. The model reads the sentence, and the reply goes on."""

    code = "tool"


class UnreachableError(LegatoError):
    """A server is not there, or not now. It may be later."""

    code = "unreachable"
