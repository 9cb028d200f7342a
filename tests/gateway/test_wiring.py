"""What the parts are made of is said at the start, for whoever reads the log."""

import logging
from pathlib import Path

import pytest

from .server import serving, settings_for


@pytest.mark.parametrize(
    ("assistant", "sentence"),
    [
        (
            {"engine": "demo", "model": "demo:canned"},
            "The demo engine answers with demo:canned, as it was told.",
        ),
        ({"engine": "fleet"}, "The fleet engine answers, as it was told."),
    ],
    ids=["demo", "fleet"],
)
async def test_it_says_who_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, assistant: dict[str, str], sentence: str
) -> None:
    caplog.set_level(logging.INFO, "legato")
    async with serving(settings_for(tmp_path, assistants={"default": assistant})):
        assert sentence in caplog.messages
