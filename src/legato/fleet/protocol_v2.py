"""Version 2 of the agent protocol: slots, leases, attempts, and events at offsets that are acknowledged."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from legato.engines.base import Request
from legato.fleet.agent_values import clean_call, clean_logprobs, clean_state
from legato.fleet.job_attempt import JobAttempt, JobSink
from legato.fleet.job_fields import fields_of
from legato.fleet.protocol import (
    Acknowledged,
    Cancel,
    Cancelled,
    EventBatch,
    FromAgent,
    Job,
    JobEmbedding,
    JobEnded,
    JobFailed,
    LogprobsTold,
    ModelInfo,
    Refused,
    Register,
    Registered,
    ResumeAt,
    ToolCalled,
)
from legato.fleet.protocol_adapter import AdapterConnection
from legato.stream import Reasoning, State, Text

MAX_SLOTS = 1024

ACK_EVENTS = 64
"""As many events are acknowledged at once; fewer when the timer of the connection's handler says so."""


class ProtocolV2:
    """Version 2 on one connection.

    A token takes one way through here: decoded, its attempt looked up, and written to the attempt's sink in the same call.
    """

    version = 2
    resumes = True
    confirms_cancel = True
    carries_prefix = True

    def __init__(self, connection: AdapterConnection) -> None:
        self._connection = connection

    def revision(self, register: Register) -> int:
        return max(0, register.revision)

    def slots(self, register: Register) -> int:
        return min(max(register.slots, 1), MAX_SLOTS)

    def unlisted(
        self, models: Mapping[str, ModelInfo], allowed: frozenset[str] | None
    ) -> frozenset[str] | None:
        """An agent that lists no model has none yet."""
        return frozenset()

    def registered(
        self, agent: str, timestamp: int, secret: str, heartbeat: float, lease: float, resume: list[ResumeAt]
    ) -> Registered:
        return Registered(agent, timestamp, self.version, secret, heartbeat, lease, resume)

    def attempt(self, job: str, attempt: int, request: Request, sink: JobSink) -> JobAttempt:
        return JobAttempt(job, attempt, request.model, sink, request.options)

    def job(
        self,
        attempt: JobAttempt,
        request: Request,
        prefix: str,
        parameters: dict[str, Any] | None,
        revision: int,
    ) -> Job:
        job = Job(
            job_id=attempt.job,
            attempt=attempt.attempt,
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
        return replace(job, **fields_of(request)) if revision else job

    def cancel(self, attempt: JobAttempt) -> None:
        self._connection.send(Cancel(attempt.job, attempt.attempt))

    def acknowledge(self, attempt: JobAttempt) -> None:
        if attempt.taken > attempt.acknowledged:
            attempt.acknowledged = attempt.taken
            self._connection.send(Acknowledged(attempt.job, attempt.attempt, attempt.taken))

    def received(self, message: FromAgent) -> None:
        if type(message) is EventBatch:
            self._events(message)
            return
        match message:
            case Cancelled(job, attempt):
                if (found := self._attempt(job, attempt)) is not None:
                    self._connection.cancelled(found)
            case Refused(job, attempt, reason):
                if (found := self._attempt(job, attempt)) is not None:
                    self._connection.returned(found, reason)
            case _:
                pass

    def _events(self, message: EventBatch) -> None:
        connection = self._connection
        attempt = connection.attempts.get(message.job_id)
        if attempt is None or attempt.attempt != message.attempt:
            if connection.had(message.job_id, message.attempt):
                connection.stale += len(message.events)
            else:
                connection.refuse(
                    f"Job {message.job_id:.40}, attempt {message.attempt}, is not this agent's."
                )
            return
        if message.from_ != attempt.received:
            connection.refuse(
                f"Events of job {attempt.job} are missing: {attempt.received} was expected, not {message.from_}."
            )
            return
        sink = attempt.sink
        for event in message.events:
            attempt.received += 1
            if type(event) is Text or type(event) is Reasoning:
                text = event.text
                connection.tokens += bool(text)
                if not attempt.count(text):
                    connection.refuse(f"Job {attempt.job} wrote more than it was asked for.")
                    return
                if not attempt.wanted:
                    connection.stale += 1
                elif type(event) is Text:
                    sink.text(text)
                else:
                    sink.reasoning(text)
            elif isinstance(event, JobEnded | JobFailed):
                if attempt.received != message.from_ + len(message.events):
                    connection.refuse(f"Job {attempt.job} goes on behind its end.")
                    return
                attempt.taken = attempt.received
                self.acknowledge(attempt)
                connection.finished(attempt, event)
                return
            elif attempt.wanted:
                if isinstance(event, ToolCalled):
                    attempt.characters_left -= 1
                    if not attempt.count(event.call.arguments):
                        connection.refuse(f"Job {attempt.job} wrote more than it was asked for.")
                        return
                    sink.tool_call(clean_call(event.call))
                elif isinstance(event, LogprobsTold):
                    if not attempt.count("".join(token.token for token in event.tokens)):
                        connection.refuse(f"Job {attempt.job} wrote more than it was asked for.")
                        return
                    sink.logprobs(clean_logprobs(event.tokens))
                elif isinstance(event, JobEmbedding):
                    if not attempt.count_vector(event.vector):
                        connection.refuse(f"Job {attempt.job} wrote more than it was asked for.")
                        return
                    sink.vector(event.vector)
                elif isinstance(event, State):
                    attempt.show(clean_state(event))
        attempt.taken = attempt.received
        if attempt.taken - attempt.acknowledged >= ACK_EVENTS:
            self.acknowledge(attempt)
        else:
            connection.took()

    def _attempt(self, job: str, attempt: int) -> JobAttempt | None:
        found = self._connection.attempts.get(job)
        return found if found is not None and found.attempt == attempt else None
