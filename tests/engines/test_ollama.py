"""What the engine does with an Ollama: the same tests on the double, and on a real one where there is one."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.doubles.ollama import CLOSED_TEMPLATE, TEMPLATE

from legato.domain.message import ImagePart, TextPart, ToolCallPart, ToolResultPart
from legato.engines.base import Capabilities, Request, ToolSpec, Turn
from legato.engines.ollama.engine import OllamaEngine
from legato.engines.ollama.models import leaves_open
from legato.errors import EngineRefusedError, ModelNotFoundError

from .ollamas import begun, doubled, real, served, wrote

HI = (Turn("user", (TextPart("hi"),)),)
FOX = "The quick brown fox jumps over a lazy dog, while tokens arrive one by one."
CALM = {"num_thread": 1}
WEATHER = ToolSpec(
    "get_weather",
    "weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)

absent = pytest.mark.skipif(
    real() is None, reason="no real Ollama: set LEGATO_TEST_OLLAMA to a program or a URL"
)
both = pytest.mark.parametrize(
    "url", ["double", pytest.param("real", marks=[pytest.mark.ollama, absent])], indirect=True
)


@pytest.fixture
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with doubled() if request.param == "double" else served(tmp_path) as url:
        yield url


@pytest.fixture
async def engine(url: str) -> AsyncIterator[OllamaEngine]:
    engine = OllamaEngine(url)
    yield engine
    await engine.close()


@both
async def test_a_conversation_with_every_kind_of_reply(engine: OllamaEngine) -> None:
    outcome, out = await wrote(engine, Request("plain", HI, options=CALM))
    assert (out.said, len(out.words)) == (FOX, 15)
    assert (outcome.reason, outcome.model) == ("stop", "plain")
    assert outcome.usage is not None
    assert outcome.usage.completion_tokens == 16
    assert outcome.timings is not None
    assert outcome.timings.tokens_per_second is not None
    assert outcome.timings.total_ms is not None

    outcome, out = await wrote(
        engine, Request("plain", HI, options={**CALM, "num_predict": 4}, keep_alive="5m")
    )
    assert (out.said, outcome.reason) == ("The quick brown fox", "length")

    _, out = await wrote(engine, Request("plain", HI, prefix="The quick brown fox", options=CALM))
    assert out.said == FOX.removeprefix("The quick brown fox")

    _, out = await wrote(engine, Request("think", HI, options=CALM, think=True))
    assert (out.thought, out.said) == ("hmm let me see", "Forty two is what you want.")
    # Told not to look for it, Ollama lets the tags through.
    _, out = await wrote(engine, Request("think", HI, options=CALM, think=False))
    assert (out.thought, out.said) == ("hmm let me see", "Forty two is what you want.")

    _, out = await wrote(engine, Request("think", HI, prefix="Forty two", options=CALM, think=True))
    assert (out.thought, out.said) == ("", " is what you want.")

    picture = Turn("user", (TextPart("look"), ImagePart("data:image/png;base64,iVBORw0KGgo=")))
    _, out = await wrote(engine, Request("plain", (picture,), options=CALM))
    assert out.said == FOX


@both
async def test_a_tool_is_asked_for_and_its_result_is_taken(engine: OllamaEngine) -> None:
    outcome, out = await wrote(engine, Request("tool", HI, options=CALM, tools=(WEATHER,)))
    assert outcome.reason == "tool_calls"
    (call,) = out.calls
    assert (call.name, json.loads(call.arguments)) == ("get_weather", {"city": "Paris"})
    assert call.call
    answered = (
        *HI,
        Turn("assistant", (ToolCallPart(call.call, call.name, call.arguments),)),
        Turn("tool", (ToolResultPart(call.call, call.name, "sunny"),)),
    )
    outcome, out = await wrote(engine, Request("plain", answered, options=CALM, tools=(WEATHER,)))
    assert (outcome.reason, out.said) == ("stop", FOX)


@both
async def test_every_refusal_is_a_sentence(engine: OllamaEngine) -> None:
    with pytest.raises(ModelNotFoundError, match="ollama pull nope"):
        await wrote(engine, Request("nope", HI))
    with pytest.raises(EngineRefusedError, match='"plain" does not support thinking'):
        await wrote(engine, Request("plain", HI, think=True))
    with pytest.raises(EngineRefusedError, match='option "num_ctx" must be of type integer'):
        await wrote(engine, Request("plain", HI, options={"num_ctx": "x"}))


@both
async def test_cancelling_stops_the_model(engine: OllamaEngine) -> None:
    """The real one runs one request at a time: the next is answered only where the endless one has stopped."""
    writing, out = await begun(engine, Request("loop", HI, options={**CALM, "num_ctx": 512}))
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    said = out.said
    outcome, _ = await wrote(engine, Request("loop", HI, options={**CALM, "num_ctx": 512, "num_predict": 3}))
    assert outcome.reason == "length"
    assert out.said == said


@both
async def test_what_is_there_and_what_it_can_do(engine: OllamaEngine) -> None:
    assert await engine.capabilities("plain") == Capabilities(
        supports_prefill=True, tools=True, images=False, thinks=False, context=8192
    )
    assert (await engine.capabilities("think")).thinks
    assert await engine.capabilities("nope") == Capabilities()

    health = await engine.health()
    assert health.ok
    assert health.version
    await wrote(engine, Request("plain", HI, options=CALM))
    _, out = await wrote(engine, Request("plain", HI, options=CALM))
    assert out.states == []
    assert "plain:latest" in (await engine.health()).loaded

    models = {model.name: model for model in await engine.models()}
    assert {"plain:latest", "think:latest", "tool:latest", "loop:latest"} <= models.keys()
    plain = models["plain:latest"]
    assert (plain.engine, plain.loaded, plain.context, plain.detail) == ("ollama", True, 4096, "282K unknown")
    assert plain.size is not None
    assert plain.size > 1_000_000


LIBRARY = {
    "chatml": TEMPLATE,
    "closed": CLOSED_TEMPLATE,
    "legacy": "{{ if .System }}<<{{ .System }}>>{{ end }}[INST] {{ .Prompt }} [/INST]{{ .Response }}</s>",
    "prompt": "{{ .Prompt }}",
    "llama3": """{{- range $i, $_ := .Messages }}{{- $last := eq (len (slice $.Messages $i)) 1 }}
{{- if eq .Role "user" }}<|start_header_id|>user<|end_header_id|>
{{ .Content }}<|eot_id|>{{ if $last }}<|start_header_id|>assistant<|end_header_id|>

{{ end }}
{{- else if eq .Role "assistant" }}<|start_header_id|>assistant<|end_header_id|>
{{- if .ToolCalls }}
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}{{ end }}
{{- else }}

{{ .Content }}
{{- end }}{{ if not $last }}<|eot_id|>{{ end }}
{{- end }}
{{- if and (ne .Role "assistant") $last }}{{ end }}
{{- end }}""",
    "ended": TEMPLATE.replace("{{ if not $last }}<|im_end|>\n{{ end }}", "<|im_end|>\n"),
    "reopened": TEMPLATE.replace('and (ne .Role "assistant") $last', "$last"),
    "newline": TEMPLATE.replace(
        '{{ end }}\n{{- else if eq .Role "tool" }}', '{{ end }}\n{{ else if eq .Role "tool" }}'
    ),
}


@pytest.mark.ollama
@pytest.mark.skipif("://" in (real() or "://"), reason="no real Ollama of our own to make models in")
async def test_the_templates_we_take_for_open_are_those_that_ollama_leaves_open(tmp_path: Path) -> None:
    """What `leaves_open` promises, held against the prompt that Ollama itself makes of such a template."""
    async with served(tmp_path) as url, aiohttp.ClientSession(url) as session:
        open_ones: dict[str, bool] = {}
        for name, template in LIBRARY.items():
            made = {"model": f"t-{name}", "from": "plain", "template": template, "stream": False}
            async with session.post("/api/create", json=made) as response:
                assert response.status == 200
            asked = {
                "model": f"t-{name}",
                "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "So far"}],
                "stream": False,
                "_debug_render_only": True,
            }
            async with session.post("/api/chat", json=asked) as response:
                prompt = (await response.json())["_debug_info"]["rendered_template"]
            open_ones[name] = prompt.endswith("So far")
        assert {name for name, found in open_ones.items() if found} >= {
            "chatml",
            "legacy",
            "prompt",
            "llama3",
        }
        for name, template in LIBRARY.items():
            assert open_ones[name] or not leaves_open(template), name
        assert all(leaves_open(LIBRARY[name]) for name in ("chatml", "legacy", "prompt"))
