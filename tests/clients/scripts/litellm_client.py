"""LiteLLM as a client, with each prefix that means one of the APIs."""

import asyncio
import json
from typing import Any

import litellm
from checks import ADDRESS, MODEL, PICTURE, check, raised

litellm.telemetry = False
HI: Any = [{"role": "user", "content": "Hello"}]
ADD: Any = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {"name": "sum", "schema": ADD["function"]["parameters"], "strict": True},
}
ASK: Any = [{"role": "user", "content": "Call add with 41"}]

WAYS: dict[str, dict[str, Any]] = {
    "openai": {"api_base": f"{ADDRESS}/v1", "api_key": "none"},
    "ollama": {"api_base": ADDRESS},
    "ollama_chat": {"api_base": ADDRESS},
    "anthropic": {"api_base": ADDRESS, "api_key": "none"},
}


def complete(way: str, **fields: Any) -> Any:
    return litellm.completion(**{"model": f"{way}/{MODEL}", "messages": HI, **WAYS[way], **fields})


def chat(way: str) -> None:
    done = complete(way)
    assert "fox" in done.choices[0].message.content
    assert done.choices[0].finish_reason == "stop"
    assert done.usage.completion_tokens > 0


def stream(way: str) -> None:
    chunks = list(complete(way, stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.endswith("lazy dog."), text
    assert chunks[-1].choices[0].finish_reason == "stop"


def tools(way: str) -> None:
    done = complete(way, messages=ASK, tools=[ADD])
    (call,) = done.choices[0].message.tool_calls
    assert call.function.name == "add"
    assert json.loads(call.function.arguments) == {"a": 41}
    told = [*ASK, done.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "82"}]
    assert complete(way, messages=told, tools=[ADD]).choices[0].message.content


def structured(way: str) -> None:
    done = complete(way, messages=ASK, response_format=SCHEMA)
    assert json.loads(done.choices[0].message.content) == {"a": 41}


def thinking(way: str) -> None:
    wanted: dict[str, dict[str, Any]] = {
        "openai": {"reasoning_effort": "low", "allowed_openai_params": ["reasoning_effort"]},
        "ollama_chat": {"reasoning_effort": "low"},
        "anthropic": {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "allowed_openai_params": ["thinking"],
        },
    }
    done = complete(way, max_tokens=4000, **wanted[way])
    assert done.choices[0].message.reasoning_content == "Let me think."


def pictures(way: str) -> None:
    url = {"url": f"data:image/png;base64,{PICTURE}"}
    content = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": url}]
    assert complete(way, messages=[{"role": "user", "content": content}]).choices[0].message.content


def errors(way: str) -> None:
    # LiteLLM has an error of its own for each provider.
    error = raised(Exception, lambda: complete(way, model=f"{way}/none"))
    assert "model" in str(error), error
    assert getattr(error, "status_code", 0) in (404, 500), error


def asynchronous(way: str) -> None:
    async def read() -> list[Any]:
        stream = await litellm.acompletion(
            model=f"{way}/{MODEL}", messages=HI, stream=True, timeout=20, **WAYS[way]
        )
        return [chunk async for chunk in stream]

    chunks = asyncio.run(read())
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks).endswith("lazy dog.")


FEATURES = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "structured output": structured,
    "thinking": thinking,
    "pictures": pictures,
    "errors": errors,
    "async": asynchronous,
}

NOT_SENT = {("ollama", "tools"), ("ollama", "thinking")}
"""Features that LiteLLM does not send by a way: with `ollama/` it writes the tools into the prompt."""

for _way in WAYS:
    for _feature, _function in FEATURES.items():
        if (_way, _feature) in NOT_SENT:
            continue
        check("LiteLLM", f"{_way}/", _feature)(lambda way=_way, function=_function: function(way))
