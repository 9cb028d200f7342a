"""The official SDKs, sync and async: every way that most programs use them."""

from typing import Any

import anthropic
import ollama
import openai
from checks import ADDRESS, MODEL, PICTURE, check, raised

HI: Any = [{"role": "user", "content": "Hello"}]
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
USE: Any = {"name": "add", "description": "Add", "input_schema": ADD["function"]["parameters"]}
ASK_TOOL: Any = [{"role": "user", "content": "Call add with 41"}]

gpt = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0)
claude = anthropic.Anthropic(base_url=ADDRESS, api_key="none", max_retries=0)
local = ollama.Client(host=ADDRESS)


@check("openai", "chat/completions", "models")
def _() -> None:
    assert MODEL in [model.id for model in gpt.models.list()]
    assert gpt.models.retrieve(MODEL).id == MODEL


@check("openai", "chat/completions", "chat")
def _() -> None:
    done = gpt.chat.completions.create(model=MODEL, messages=HI)
    assert "fox" in (done.choices[0].message.content or "")
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > 0


@check("openai", "chat/completions", "stream")
def _() -> None:
    chunks = list(
        gpt.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text.endswith("lazy dog.")
    assert chunks[-1].usage is not None


@check("openai", "chat/completions", "tools")
def _() -> None:
    done = gpt.chat.completions.create(model=MODEL, messages=ASK_TOOL, tools=[ADD])
    assert done.choices[0].finish_reason == "tool_calls"
    (call,) = done.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.arguments == '{"a":41}'
    told = [*ASK_TOOL, done.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "82"}]
    assert gpt.chat.completions.create(model=MODEL, messages=told, tools=[ADD]).choices[0].message.content


@check("openai", "chat/completions", "structured output")
def _() -> None:
    import pydantic

    class Joke(pydantic.BaseModel):
        setup: str
        rating: int

    parsed = gpt.chat.completions.parse(model=MODEL, messages=HI, response_format=Joke)
    assert isinstance(parsed.choices[0].message.parsed, Joke)
    with gpt.chat.completions.stream(model=MODEL, messages=HI, response_format=Joke) as stream:
        stream.until_done()
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Joke)


@check("openai", "chat/completions", "thinking")
def _() -> None:
    done = gpt.chat.completions.create(model=MODEL, messages=HI, reasoning_effort="low")
    assert getattr(done.choices[0].message, "reasoning_content", "") == "Let me think."


@check("openai", "chat/completions", "pictures")
def _() -> None:
    url = {"url": f"data:image/png;base64,{PICTURE}"}
    content: Any = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    assert gpt.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}]).choices


@check("openai", "chat/completions", "errors")
def _() -> None:
    create = gpt.chat.completions.create
    unknown = raised(openai.NotFoundError, lambda: create(model="none", messages=HI))
    empty = raised(openai.BadRequestError, lambda: create(model=MODEL, messages=[]))
    assert (unknown.code, empty.param) == ("model_not_found", "messages")


@check("openai", "chat/completions", "async")
async def _() -> None:
    async with openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        assert [chunk async for chunk in stream][-1].choices[0].finish_reason == "stop"


@check("openai", "responses", "chat")
def _() -> None:
    done = gpt.responses.create(model=MODEL, input="Hello")
    assert "fox" in done.output_text
    assert done.status == "completed"
    following = gpt.responses.create(model=MODEL, input="Go on", previous_response_id=done.id)
    assert following.previous_response_id == gpt.responses.retrieve(done.id).id


@check("openai", "responses", "stream")
def _() -> None:
    events = list(gpt.responses.create(model=MODEL, input="Hello", stream=True))
    assert events[-1].type == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text.endswith("lazy dog.")


@check("openai", "responses", "tools")
def _() -> None:
    tool: Any = {"type": "function", "strict": False, **ADD["function"]}
    done = gpt.responses.create(model=MODEL, input="Call add with 41", tools=[tool])
    (call,) = [item for item in done.output if item.type == "function_call"]
    assert (call.name, call.arguments) == ("add", '{"a":41}')
    told: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "82"}]
    assert gpt.responses.create(
        model=MODEL, input=told, tools=[tool], previous_response_id=done.id
    ).output_text


@check("openai", "responses", "structured output")
def _() -> None:
    import pydantic

    class Joke(pydantic.BaseModel):
        setup: str
        rating: int

    parsed = gpt.responses.parse(model=MODEL, input="Hello", text_format=Joke)
    assert isinstance(parsed.output_parsed, Joke)


@check("openai", "responses", "async")
async def _() -> None:
    async with openai.AsyncOpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0) as client:
        started = await client.responses.create(model=MODEL, input="Hello", background=True)
        while started.status in ("queued", "in_progress"):
            started = await client.responses.retrieve(started.id)
        assert started.output_text.endswith("lazy dog.")


@check("anthropic", "messages", "models")
def _() -> None:
    assert MODEL in [model.id for model in claude.models.list()]


@check("anthropic", "messages", "chat")
def _() -> None:
    done = claude.messages.create(model=MODEL, max_tokens=100, messages=HI)
    assert "fox" in getattr(done.content[0], "text", "")
    assert done.stop_reason == "end_turn"
    assert done.usage.output_tokens > 0


@check("anthropic", "messages", "stream")
def _() -> None:
    with claude.messages.stream(model=MODEL, max_tokens=100, messages=HI) as stream:
        assert "".join(stream.text_stream).endswith("lazy dog.")


@check("anthropic", "messages", "tools")
def _() -> None:
    done = claude.messages.create(model=MODEL, max_tokens=100, messages=ASK_TOOL, tools=[USE])
    (block,) = done.content
    assert block.type == "tool_use"
    assert block.input == {"a": 41}
    result: Any = {"type": "tool_result", "tool_use_id": block.id, "content": "82"}
    told = [
        *ASK_TOOL,
        {"role": "assistant", "content": done.content},
        {"role": "user", "content": [result]},
    ]
    assert (
        claude.messages.create(model=MODEL, max_tokens=100, messages=told, tools=[USE]).stop_reason
        == "end_turn"
    )


@check("anthropic", "messages", "thinking")
def _() -> None:
    done = claude.messages.create(
        model=MODEL, max_tokens=2000, messages=HI, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert [block.type for block in done.content] == ["thinking", "text"]


@check("anthropic", "messages", "pictures")
def _() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    assert claude.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": content}]
    ).content


@check("anthropic", "messages", "errors")
def _() -> None:
    create = claude.messages.create
    error = raised(anthropic.NotFoundError, lambda: create(model="none", max_tokens=100, messages=HI))
    assert isinstance(error.body, dict)
    assert error.body["error"]["type"] == "not_found_error"


@check("anthropic", "messages", "async")
async def _() -> None:
    async with anthropic.AsyncAnthropic(base_url=ADDRESS, api_key="none", max_retries=0) as client:
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=HI) as stream:
            assert (await stream.get_final_message()).stop_reason == "end_turn"
        assert (await client.messages.count_tokens(model=MODEL, messages=HI)).input_tokens > 0


@check("ollama", "chat and generate", "models")
def _() -> None:
    assert MODEL in [model.model for model in local.list().models]
    assert "tools" in (local.show(MODEL).capabilities or ())
    assert MODEL in [model.model for model in local.ps().models]


@check("ollama", "chat and generate", "chat")
def _() -> None:
    done = local.chat(MODEL, HI)
    assert "fox" in (done.message.content or "")
    assert (done.done, done.done_reason) == (True, "stop")
    assert (done.eval_count or 0) > 0
    assert "fox" in local.generate(MODEL, "Hello").response


@check("ollama", "chat and generate", "stream")
def _() -> None:
    chunks = list(local.chat(MODEL, HI, stream=True))
    assert "".join(chunk.message.content or "" for chunk in chunks).endswith("lazy dog.")
    assert chunks[-1].done
    assert "".join(part.response for part in local.generate(MODEL, "Hello", stream=True)).endswith("dog.")


@check("ollama", "chat and generate", "tools")
def _() -> None:
    done = local.chat(MODEL, ASK_TOOL, tools=[ADD])
    (call,) = done.message.tool_calls or ()
    assert (call.function.name, dict(call.function.arguments)) == ("add", {"a": 41})
    told: Any = [*ASK_TOOL, done.message, {"role": "tool", "tool_name": "add", "content": "82"}]
    assert local.chat(MODEL, told, tools=[ADD]).message.content


@check("ollama", "chat and generate", "structured output")
def _() -> None:
    import json

    schema: Any = ADD["function"]["parameters"]
    assert json.loads(local.chat(MODEL, ASK_TOOL, format=schema).message.content or "") == {"a": 41}
    assert json.loads(local.chat(MODEL, HI, format="json").message.content or "")


@check("ollama", "chat and generate", "thinking")
def _() -> None:
    assert local.chat(MODEL, HI, think=True).message.thinking == "Let me think."


@check("ollama", "chat and generate", "pictures")
def _() -> None:
    assert local.chat(MODEL, [{"role": "user", "content": "What?", "images": [PICTURE]}]).done


@check("ollama", "chat and generate", "errors")
def _() -> None:
    error = raised(ollama.ResponseError, lambda: local.chat("none", HI))
    assert error.status_code == 404
    assert "not found" in error.error


@check("ollama", "chat and generate", "async")
async def _() -> None:
    async with ollama.AsyncClient(host=ADDRESS) as client:
        assert [chunk async for chunk in await client.chat(MODEL, HI, stream=True)][-1].done
