"""instructor: structured output by each of its modes and providers."""

from typing import Any

import anthropic
import instructor
import openai
import pydantic
from checks import ADDRESS, MODEL, check

HI: Any = [{"role": "user", "content": "Tell me of 'Ulm', 41 years old"}]


class Person(pydantic.BaseModel):
    name: str
    age: int


ULM = {"name": "Ulm", "age": 41}


def asked(mode: instructor.Mode) -> dict[str, Any]:
    client = instructor.from_openai(openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none"), mode=mode)
    return client.chat.completions.create(
        model=MODEL, messages=HI, response_model=Person, max_retries=0
    ).model_dump()


@check("instructor", "chat/completions", "tools")
def _() -> None:
    assert asked(instructor.Mode.TOOLS) == ULM


@check("instructor", "chat/completions", "structured output")
def _() -> None:
    assert asked(instructor.Mode.JSON_SCHEMA) == ULM


@check("instructor", "chat/completions", "stream")
def _() -> None:
    client = instructor.from_openai(
        openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none"), mode=instructor.Mode.TOOLS
    )
    parts = list(client.chat.completions.create_partial(model=MODEL, messages=HI, response_model=Person))
    assert parts[-1].model_dump() == ULM


@check("instructor", "chat/completions", "async")
async def _() -> None:
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key="none"))
    made = await client.chat.completions.create(model=MODEL, messages=HI, response_model=Person)
    assert made.model_dump() == ULM


@check("instructor", "messages", "tools")
def _() -> None:
    client = instructor.from_anthropic(anthropic.Anthropic(base_url=ADDRESS, api_key="none"))
    made = client.messages.create(model=MODEL, max_tokens=100, messages=HI, response_model=Person)
    assert made.model_dump() == ULM
