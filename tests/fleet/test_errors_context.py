"""A context refusal that an agent reports."""

import pytest

from legato.errors import ContextExceededError, EngineBrokeError, EngineRefusedError
from legato.fleet.errors import error_of_agent
from legato.fleet.protocol import JobFailed


def test_a_refusal_of_the_length_names_the_context() -> None:
    error = error_of_agent(
        JobFailed("engine_refused", "This model's maximum context length is 4096 tokens, you asked for 5000.")
    )
    assert isinstance(error, ContextExceededError)
    assert (error.limit, error.asked) == (4096, 5000)


@pytest.mark.parametrize(
    ("code", "kind"), [("engine_refused", EngineRefusedError), ("engine_broke", EngineBrokeError)]
)
def test_other_failures_keep_their_kind(code: str, kind: type[Exception]) -> None:
    assert type(error_of_agent(JobFailed(code, "The option is not known."))) is kind
