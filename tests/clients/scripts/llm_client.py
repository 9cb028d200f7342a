"""The `llm` command and library: a model of its own settings file, and the plugin for Ollama."""

import base64

import llm
from checks import ADDRESS, MODEL, PICTURE, check
from click.testing import CliRunner
from llm.cli import cli

(llm.user_dir() / "extra-openai-models.yaml").write_text(
    f"- model_id: legato\n  model_name: {MODEL}\n  api_base: {ADDRESS}/v1\n  api_key_name: none\n"
    "  supports_tools: true\n  supports_schema: true\n  vision: true\n"
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def add(a: int) -> str:
    """Add."""
    return str(a * 2)


def gpt() -> llm.Model:
    model = llm.get_model("legato")
    model.key = "none"
    return model


def local() -> llm.Model:
    return llm.get_model(f"ollama/{MODEL}")


def command(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


for _name, _model, _id in (("chat/completions", gpt, "legato"), ("llm-ollama", local, f"ollama/{MODEL}")):

    @check("llm", _name, "models")
    def _(_id=_id) -> None:
        assert _id in command("models", "list")

    @check("llm", _name, "chat")
    def _(_model=_model) -> None:
        response = _model().prompt("Hello", stream=False)
        assert "fox" in response.text()
        assert response.usage().output > 0

    @check("llm", _name, "stream")
    def _(_model=_model) -> None:
        assert "".join(_model().prompt("Hello")).endswith("lazy dog.")

    @check("llm", _name, "tools")
    def _(_model=_model) -> None:
        text = _model().chain("Call add with 41", tools=[add]).text()
        assert "fox" in text

    @check("llm", _name, "structured output")
    def _(_model=_model) -> None:
        assert _model().prompt("Make 41", schema=SCHEMA, stream=False).text() == '{"a":41}'

    @check("llm", _name, "pictures")
    def _(_model=_model) -> None:
        picture = llm.Attachment(type="image/png", content=base64.b64decode(PICTURE))
        assert "fox" in _model().prompt("What is it?", attachments=[picture]).text()


@check("llm", "llm-ollama", "thinking")
def _() -> None:
    assert "fox" in local().prompt("Hello", think=True).text()


@check("llm", "llm-ollama", "async")
async def _() -> None:
    assert (await llm.get_async_model(f"ollama/{MODEL}").prompt("Hello").text()).endswith("lazy dog.")
