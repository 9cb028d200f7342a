"""JSON from clients: decoded, or refused with a sentence that says what is wrong with it."""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from legato.domain.surrogates import decode_replacing_surrogates
from legato.errors import InvalidError

T = TypeVar("T")

ERROR_LENGTH = 200
"""Maximum characters of a decoder's error in a sentence."""


def decode_client_json(
    decode: Callable[[bytes], T],
    payload: bytes,
    *,
    misfit: str = "This does not fit",
    subject: str = "This",
    possessive: str = "This",
) -> T:
    """Decode JSON with a strict `decode`. Escaped lone surrogates, which browsers send, become U+FFFD.

    `misfit`, `subject` and `possessive` begin the sentences of the errors.

    :raises InvalidError: the payload is not JSON, is nested too deeply for the decoder, or does not have its shape.
    """
    try:
        return decode_replacing_surrogates(decode, payload)
    except msgspec.ValidationError as error:
        raise InvalidError(f"{misfit}: {_shortened(error)}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidError(f"{subject} is not JSON: {_shortened(error)}.") from None
    except RecursionError:
        raise InvalidError(f"{possessive} JSON is nested too deeply.") from None


def _shortened(error: Exception) -> str:
    """Return the text of an error without its middle if it is long: it quotes a wrong value, whatever its length."""
    text = str(error)
    return (
        text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH // 2]} … {text[-ERROR_LENGTH // 2 :]}"
    )
