"""The schema and the TypeScript types are what the messages say, and the checkout holds the present ones."""

import json
from pathlib import Path

import pytest

from legato.protocol.close_codes import CloseCode
from legato.protocol.schema import SCHEMA_FILE, TYPESCRIPT_FILE, json_schema, main, typescript

CHECKOUT = Path(__file__).parents[2]


def test_the_generated_files_are_current() -> None:
    assert main(["--check", "--root", str(CHECKOUT)]) == 0


def test_a_stale_file_is_named_and_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path)]) == 0
    stale = tmp_path / TYPESCRIPT_FILE
    stale.write_text("export {};\n", encoding="utf-8")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert str(TYPESCRIPT_FILE) in said
    assert str(SCHEMA_FILE) not in said
    assert stale.read_text(encoding="utf-8") == "export {};\n"


def test_writing_twice_gives_the_same(tmp_path: Path) -> None:
    main(["--root", str(tmp_path)])
    first = (tmp_path / SCHEMA_FILE).read_text(encoding="utf-8")
    main(["--root", str(tmp_path)])
    assert (tmp_path / SCHEMA_FILE).read_text(encoding="utf-8") == first


def test_every_reference_of_the_schema_exists() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for name in schema["$defs"]:
        text = text.replace(f'"#/$defs/{name}"', "")
    assert "#/$defs/" not in text


def test_an_optional_field_is_optional_in_typescript() -> None:
    out = typescript(json_schema())
    assert "export interface Follow {\n" in out
    assert "  conversation: string;\n  since?: number;\n  positions?: Where[];\n" in out
    assert "  from: number;\n  to: number;\n" in out


def test_close_codes_are_generated_by_name() -> None:
    out = typescript(json_schema())
    for code in CloseCode:
        assert f"  {code.name}: {code.value},\n" in out


def test_an_unknown_kind_of_schema_is_refused() -> None:
    with pytest.raises(ValueError, match="no TypeScript"):
        typescript({"$defs": {"Odd": {"type": "object", "properties": {"a": {"type": "tuple"}}}}})
