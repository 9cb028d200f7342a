"""How a text file stands in a prompt."""

import re

from legato.domain.message import TextPart
from legato.domain.validation import clean_text, one_line

MAX_NAME_LENGTH = 200

_BACKTICKS = re.compile(r"`+")


def file_name(name: str) -> str:
    """Return a name as it stands in a prompt: one line, without backticks."""
    return one_line(name, MAX_NAME_LENGTH).replace("`", "'") or "without a name"


def text_file_part(name: str, data: bytes) -> TextPart:
    """Return the text of a file in a fenced block below its name. No text can end the block."""
    text = clean_text(data.decode("utf-8", "replace").removeprefix("\ufeff"))
    longest = max(map(len, _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    end = "" if text.endswith("\n") else "\n"
    return TextPart(f"The file {file_name(name)}:\n\n{fence}\n{text}{end}{fence}\n")
