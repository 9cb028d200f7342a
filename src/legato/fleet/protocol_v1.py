"""Version 1 of the agent protocol: one job at a time, a prompt, a token a frame, no attempts and no offsets."""

from collections.abc import Mapping
from typing import Any

from legato.domain.message import AudioPart, ImagePart, Part, text_of
from legato.engines.base import Request
from legato.engines.context_errors import context_refusal
from legato.engines.message_format import NOT_HEARD, NOT_SHOWN
from legato.fleet.job_attempt import JobAttempt, JobSink
from legato.fleet.protocol import (
    FromAgent,
    JobComplete,
    JobEnded,
    JobError,
    JobFailed,
    ModelInfo,
    PromptJob,
    Register,
    Registered,
    ResumeAt,
    Token,
)
from legato.fleet.protocol_adapter import AdapterConnection

ROLE_NAMES = {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool"}

REQUEST_FIELDS = frozenset(
    {"model", "prompt", "stream", "system", "template", "context", "raw", "format", "images", "suffix"}
)
"""Fields of Ollama's request to generate that are no options of a model."""

NO_TEXT = "the model said nothing"


class ProtocolV1:
    """Version 1 on one connection. Attempts are told apart by the job ids that the agent is given."""

    version = 1
    resumes = False
    confirms_cancel = False
    carries_prefix = False

    def __init__(self, connection: AdapterConnection) -> None:
        self._connection = connection

    def revision(self, register: Register) -> int:
        return 0

    def slots(self, register: Register) -> int:
        return 1

    def unlisted(
        self, models: Mapping[str, ModelInfo], allowed: frozenset[str] | None
    ) -> frozenset[str] | None:
        """An agent that lists no model can be asked for any that its key is good for."""
        return frozenset() if models else allowed

    def registered(
        self, agent: str, timestamp: int, secret: str, heartbeat: float, lease: float, resume: list[ResumeAt]
    ) -> Registered:
        return Registered(agent, timestamp)

    def attempt(self, job: str, attempt: int, request: Request, sink: JobSink) -> JobAttempt:
        return JobAttempt(job, attempt, request.model, sink)

    def job(
        self,
        attempt: JobAttempt,
        request: Request,
        prefix: str,
        parameters: dict[str, Any] | None,
        revision: int,
    ) -> PromptJob:
        return prompt_job(attempt_name(attempt.job, attempt.attempt), request, parameters)

    def cancel(self, attempt: JobAttempt) -> None:
        """The agent cannot be told."""

    def acknowledge(self, attempt: JobAttempt) -> None:
        """Tokens have no offsets."""

    def received(self, message: FromAgent) -> None:
        match message:
            case Token():
                self._token(message)
            case JobComplete(name):
                if (attempt := self._attempt(name)) is not None:
                    self._complete(attempt)
            case JobError(name, error):
                if (attempt := self._attempt(name)) is not None:
                    too_long = not attempt.started and context_refusal(error) is not None
                    code = "engine_refused" if too_long else "engine_broke"
                    self._connection.finished(attempt, JobFailed(code, error))
            case _:
                pass

    def _token(self, message: Token) -> None:
        connection, attempt = self._connection, self._attempt(message.job_id)
        if attempt is None:
            connection.stale += 1
            return
        text = message.token
        if message.done and attempt.wanted and (text or attempt.started):
            attempt.sink.final()
        if text:
            connection.tokens += 1
            if not attempt.count(text):
                connection.refuse(f"Job {attempt.job} wrote more than it was asked for.")
                return
            if attempt.wanted:
                attempt.sink.text(text)
        if message.done:
            self._complete(attempt)

    def _complete(self, attempt: JobAttempt) -> None:
        """These agents report no error of their model: a job without text has failed."""
        end = JobEnded("stop", attempt.model) if attempt.started else JobFailed("engine_broke", NO_TEXT)
        self._connection.finished(attempt, end)

    def _attempt(self, name: str) -> JobAttempt | None:
        """The attempt that the agent calls by this name, if it still has it."""
        attempt = self._connection.attempts.get(name.partition(".")[0])
        return attempt if attempt is not None and name == attempt_name(attempt.job, attempt.attempt) else None


def attempt_name(job: str, attempt: int) -> str:
    """The job id by which an agent knows this attempt. Each attempt has its own, because an agent that lost its connection may
    still send what belongs to an earlier one."""
    return job if attempt == 1 else f"{job}.{attempt}"


def prompt_of(request: Request) -> str:
    """One message as it is; a longer history as a plain transcript that ends where the answer begins."""
    turns = [(ROLE_NAMES[turn.role], _text(turn.parts)) for turn in request.turns]
    if len(turns) == 1:
        return turns[0][1]
    return "\n\n".join([*(f"{role}: {text}" for role, text in turns if text), "Assistant:"])


def _text(parts: tuple[Part, ...]) -> str:
    """The text, and a note for each picture and recording, which version 1 cannot carry."""
    notes = [NOT_SHOWN for part in parts if isinstance(part, ImagePart)]
    notes += [NOT_HEARD for part in parts if isinstance(part, AudioPart)]
    return "\n\n".join(filter(None, [text_of(parts), *notes]))


def prompt_job(job: str, request: Request, parameters: dict[str, Any] | None) -> PromptJob:
    """A request as a prompt. `parameters` are those of a request on the browser endpoint; None makes them from the request."""
    if parameters is None:
        parameters = {}
        if request.options:
            parameters["options"] = request.options
        if request.keep_alive is not None:
            parameters["keep_alive"] = request.keep_alive
    return PromptJob(job, request.model, prompt_of(request), parameters)


def options_of(parameters: dict[str, Any]) -> dict[str, Any]:
    """The options of a model among the parameters of a request on the browser endpoint."""
    nested = parameters.get("options")
    plain = {
        name: value
        for name, value in parameters.items()
        if name not in REQUEST_FIELDS | {"options", "keep_alive", "think"}
    }
    return plain | nested if isinstance(nested, dict) else plain
