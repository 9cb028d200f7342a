"""The errors that a person gets when the fleet does not write a reply."""

from legato.engines.context_errors import context_refusal
from legato.errors import (
    ContextExceededError,
    EngineBrokeError,
    EngineBusyError,
    EngineError,
    EngineGaveUpError,
    EngineRefusedError,
    EngineTimeoutError,
    EngineUnavailableError,
    ModelNotFoundError,
    UnsupportedOptionError,
)
from legato.fleet.decisions import Refuse
from legato.fleet.protocol import JobFailed

NO_AGENT = "No agent is connected. Start one with `legato agent` beside your models."

RETRIED = (EngineBrokeError, EngineUnavailableError, EngineTimeoutError, ModelNotFoundError)
"""Errors that another agent may not have."""

_ERRORS: dict[str, type[EngineError]] = {
    kind.code: kind
    for kind in (
        EngineUnavailableError,
        EngineTimeoutError,
        EngineBrokeError,
        ModelNotFoundError,
        EngineRefusedError,
    )
}


def error_of_agent(end: JobFailed) -> EngineError:
    """Return the error that an agent reported. A refusal of the prompt's length is one that a shorter prompt may not meet."""
    if end.code == UnsupportedOptionError.code:
        return UnsupportedOptionError(end.message, end.option or "options")
    if end.too_long:
        return ContextExceededError(end.message, end.limit, end.asked)
    if end.code == EngineRefusedError.code and (refusal := context_refusal(end.message)) is not None:
        return ContextExceededError(end.message, *refusal)
    return _ERRORS.get(end.code, EngineBrokeError)(end.message)


def error_of_refusal(refusal: Refuse, model: str, *, agents: bool, waited: float) -> EngineError:
    """The error for a job that the scheduler refused. `agents`: whether there are agents; `waited` is how long a job may wait, in
    seconds."""
    wait = refusal.retry_after
    match refusal.reason:
        case "no_model":
            if agents and not model:
                return ModelNotFoundError("The connected agents name no model: name the one to ask for.")
            return ModelNotFoundError(f"No connected agent has the model {model}." if agents else NO_AGENT)
        case "full":
            return EngineBusyError(f"All agents are busy. Please try again in {wait:g} s.", wait)
        case "late":
            return EngineBusyError(
                f"No agent was free for {waited:g} s. Please try again in {wait:g} s.", wait
            )
        case "lost":
            return EngineGaveUpError("The agents that were to write this were lost. Please ask again.")
