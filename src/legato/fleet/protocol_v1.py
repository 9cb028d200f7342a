"""A request in the words of the first generation: one prompt, and parameters that go into Ollama's request as they are."""

from typing import Any

from legato.domain.message import AudioPart, ImagePart, Part, text_of
from legato.engines.base import Request
from legato.engines.message_format import NOT_HEARD, NOT_SHOWN
from legato.fleet.protocol import Job, PromptJob

SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}

OWN = frozenset(
    {"model", "prompt", "stream", "system", "template", "context", "raw", "format", "images", "suffix"}
)
"""What is Ollama's own in a request to generate, and no option of a model."""


def prompt_of(request: Request) -> str:
    """One message as it is; a longer history as a plain transcript, with the answer to come at its end."""
    said = [(SPEAKERS[turn.role], _text(turn.parts)) for turn in request.turns]
    if len(said) == 1:
        return said[0][1]
    return "\n\n".join([*(f"{speaker}: {text}" for speaker, text in said if text), "Assistant:"])


def _text(parts: tuple[Part, ...]) -> str:
    """The words, and a note for each picture and recording: agents of the first generation carry none."""
    notes = [NOT_SHOWN for part in parts if isinstance(part, ImagePart)]
    notes += [NOT_HEARD for part in parts if isinstance(part, AudioPart)]
    return "\n\n".join(filter(None, [text_of(parts), *notes]))


def first_name(job: str, attempt: int) -> str:
    """What the first generation calls an attempt of a job: it knows none, and tells jobs apart by their ids alone."""
    return job if attempt == 1 else f"{job}.{attempt}"


def prompt_job(job: str, request: Request, parameters: dict[str, Any] | None) -> PromptJob:
    """`parameters` are those of a browser of the first generation; None makes them from the request."""
    if parameters is None:
        parameters = {}
        if request.options:
            parameters["options"] = request.options
        if request.keep_alive is not None:
            parameters["keep_alive"] = request.keep_alive
    return PromptJob(job, request.model, prompt_of(request), parameters)


def job_of(job: str, attempt: int, request: Request, prefix: str) -> Job:
    """A request in the words of the second generation."""
    return Job(
        job_id=job,
        attempt=attempt,
        model=request.model,
        turns=request.turns,
        prefix=prefix,
        options=request.options,
        tools=request.tools,
        think=request.think,
        keep_alive=request.keep_alive,
        conversation=request.conversation,
        user=request.user,
    )


def options_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The options of a model among the parameters that a browser of the first generation sends."""
    nested = parameters.get("options")
    plain = {
        name: value
        for name, value in parameters.items()
        if name not in OWN | {"options", "keep_alive", "think"}
    }
    return plain | nested if isinstance(nested, dict) else plain
