"""The public standard suites of LangChain's integrations, unmodified. pytest runs this file in the environment of the clients."""

from typing import Any

import pytest
from checks import ADDRESS, MODEL, SMALL_MODEL
from langchain_core.language_models import BaseChatModel
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestOpenAI(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": f"{ADDRESS}/v1", "api_key": "none", "stream_usage": True}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str | None:
        return "other"


class TestOllama(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": ADDRESS}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def has_tool_choice(self) -> bool:
        # ChatOllama sends no tool_choice.
        return False

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str | None:
        return "other"


@pytest.mark.skipif(not SMALL_MODEL, reason="The small model is not installed.")
def test_a_real_small_model_says_the_same_by_both() -> None:
    gpt = ChatOpenAI(
        model=SMALL_MODEL, base_url=f"{ADDRESS}/v1", api_key="none", temperature=0, max_tokens=12
    )
    local = ChatOllama(model=SMALL_MODEL, base_url=ADDRESS, temperature=0, num_predict=12)
    texts = ["".join(chunk.text for chunk in model.stream("Hello")) for model in (gpt, local)]
    assert texts[0] == texts[1] != ""
