"""What an agent says, within the limits of what people are shown. An agent may run any program."""

import math
from collections.abc import Iterable

from msgspec.structs import replace

from legato.domain.validation import is_visible, one_line
from legato.engines.base import Capabilities, TokenLogprob, ToolCall
from legato.fleet.protocol import HeldJob, JobEnded, JobFailed, ModelInfo
from legato.stream import State, Timings, Usage

ERROR_LENGTH = 500
"""Characters of an error of an agent that a person is shown."""

DETAIL_LENGTH = 200
"""Characters of the detail of a state."""

VERSION_LENGTH = 40

KEY_LENGTH = 128
"""Characters of an id, a secret, or the name of a tool."""

HELD_JOBS = 1024
"""Jobs that an agent may bring back when it reconnects."""

IMAGE_TYPES = 32

FIELD_LENGTH = 60
"""Characters of the name of an option."""

LOGPROBS = 100
"""Alternatives to a token."""

LARGEST = 2**53
"""The largest integer that every client of JSON reads unchanged."""


def clean_models(models: Iterable[ModelInfo]) -> list[ModelInfo]:
    """Return the models that can be shown. One whose name has characters that nobody sees is left out."""
    return [_clean_model(each) for each in models if each.name.strip() and is_visible(each.name)]


def clean_version(version: str | None) -> str | None:
    return one_line(version[: 4 * VERSION_LENGTH], VERSION_LENGTH) or None if version is not None else None


def clean_state(state: State) -> State:
    """Return a state with a share of progress from 0 to 1 and a detail of one line."""
    detail = one_line(state.detail[: 4 * DETAIL_LENGTH], DETAIL_LENGTH) if state.detail else None
    return replace(state, progress=clean_progress(state.progress), detail=detail or None)


def clean_progress(progress: float | None) -> float | None:
    if progress is None or math.isnan(progress):
        return None
    return min(max(progress, 0.0), 1.0)


def clean_logprobs(tokens: tuple[TokenLogprob, ...]) -> tuple[TokenLogprob, ...]:
    """Return log probabilities that are numbers, of bytes that are bytes."""
    return tuple(
        replace(_clean_logprob(each), top=tuple(_clean_logprob(other) for other in each.top[:LOGPROBS]))
        for each in tokens
        if math.isfinite(each.logprob)
    )


def _clean_logprob(token: TokenLogprob) -> TokenLogprob:
    octets = token.bytes if token.bytes is not None and all(0 <= each < 256 for each in token.bytes) else None
    return TokenLogprob(token.token, max(token.logprob, -9999.0), octets)


def clean_error(message: str) -> str:
    """Return the error as one line; a sentence if it is empty."""
    return one_line(message[: 4 * ERROR_LENGTH], ERROR_LENGTH) or "The agent failed, and does not say why."


def clean_end(end: JobEnded | JobFailed) -> JobEnded | JobFailed:
    """Return the end of a job with an error of one line, or with counts and times that can be true."""
    if isinstance(end, JobFailed):
        return replace(
            end,
            message=clean_error(end.message),
            option=one_line(end.option[: 4 * FIELD_LENGTH], FIELD_LENGTH),
            limit=_count(end.limit),
            asked=_count(end.asked),
        )
    usage, timings = end.usage, end.timings
    if usage is not None:
        usage = Usage(_count(usage.prompt_tokens), _count(usage.completion_tokens), usage.at_limit)
    if timings is not None:
        timings = Timings(*(_time(getattr(timings, name)) for name in timings.__struct_fields__))
    return replace(end, usage=usage, timings=timings)


def clean_call(call: ToolCall) -> ToolCall:
    """Return a tool call whose id and name are short and of one line."""
    return ToolCall(one_line(call.call, KEY_LENGTH), one_line(call.name, KEY_LENGTH), call.arguments)


def clean_held(jobs: list[HeldJob]) -> list[HeldJob]:
    """Return the jobs that an agent brings back, without those that no gateway can have given it."""
    return [each for each in jobs[:HELD_JOBS] if len(each.job_id) <= KEY_LENGTH]


def _clean_model(info: ModelInfo) -> ModelInfo:
    can = info.can
    return replace(
        info,
        size=_count(info.size),
        context=_count(info.context) or None,
        can=_clean_capabilities(can) if can is not None else None,
    )


def _clean_capabilities(can: Capabilities) -> Capabilities:
    types = tuple(
        each for each in can.image_types[:IMAGE_TYPES] if len(each) <= KEY_LENGTH and is_visible(each)
    )
    return replace(can, context=_count(can.context) or None, image_types=types)


def _count(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= LARGEST else None


def _time(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= LARGEST else None
