"""A real small model, asked the same by every client: each gets the same words."""

from typing import Any

import anthropic
import litellm
import ollama
import openai
from checks import ADDRESS, SMALL_MODEL, check

ASKED = "What is the capital of France?"
HI: Any = [{"role": "user", "content": ASKED}]
GREEDY: Any = {"temperature": 0, "num_predict": 12, "seed": 1}


def texts(*words: str) -> None:
    """Check the answer. Every client gets the same."""
    text = "".join(words).strip()
    assert len(text) > 10, text
    SAID.append(text)
    assert text == SAID[0], SAID


SAID: list[str] = []


@check("openai", "small model", "stream")
def _() -> None:
    client = openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none", max_retries=0)
    stream = client.chat.completions.create(
        model=SMALL_MODEL, messages=HI, temperature=0, max_tokens=12, stream=True
    )
    texts(*(chunk.choices[0].delta.content or "" for chunk in stream))


@check("anthropic", "small model", "stream")
def _() -> None:
    client = anthropic.Anthropic(base_url=ADDRESS, api_key="none", max_retries=0)
    with client.messages.stream(
        model=SMALL_MODEL, messages=HI, max_tokens=12, extra_body={"temperature": 0}
    ) as stream:
        texts(*stream.text_stream)


@check("ollama", "small model", "stream")
def _() -> None:
    chunks = list(ollama.Client(host=ADDRESS).chat(SMALL_MODEL, HI, options=GREEDY, stream=True))
    texts(*(chunk.message.content or "" for chunk in chunks))
    assert (chunks[-1].prompt_eval_count or 0) > 5
    assert (chunks[-1].eval_duration or 0) > 0


@check("LiteLLM", "small model", "stream")
def _() -> None:
    stream = litellm.completion(
        f"ollama_chat/{SMALL_MODEL}", HI, api_base=ADDRESS, temperature=0, max_tokens=12, stream=True
    )
    texts(*(chunk.choices[0].delta.content or "" for chunk in stream))
