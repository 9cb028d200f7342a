"""What the parts are made of is said at the start, for whoever reads the log."""

import logging
from pathlib import Path

import pytest
from tests.doubles.ollama import OllamaDouble, Scripted

from legato.errors import SettingsError

from .server import serving, settings_for


@pytest.mark.parametrize(
    ("assistant", "sentence"),
    [
        (
            {"engine": "demo", "model": "demo:canned"},
            "The demo engine answers with demo:canned, as the configuration says.",
        ),
        ({"engine": "fleet"}, "The fleet engine answers, as the configuration says."),
    ],
    ids=["demo", "fleet"],
)
async def test_it_says_who_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, assistant: dict[str, str], sentence: str
) -> None:
    caplog.set_level(logging.INFO, "legato")
    async with serving(settings_for(tmp_path, assistants={"default": assistant})):
        assert sentence in caplog.messages


@pytest.mark.parametrize("others", [{"plain": Scripted([])}, {}])
async def test_a_model_that_only_embeds_is_not_the_one_that_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, others: dict[str, Scripted]
) -> None:
    caplog.set_level(logging.INFO, "legato")
    async with OllamaDouble({"vectors": Scripted([], family="bert", loaded=True), **others}) as double:
        settings = settings_for(
            tmp_path, assistants={"default": {"engine": "ollama"}}, engines={"ollama": {"url": double.url}}
        )
        if others:
            async with serving(settings):
                assert any("plain" in message for message in caplog.messages)
        else:
            with pytest.raises(SettingsError, match="has no model to chat with"):
                async with serving(settings):
                    pass
