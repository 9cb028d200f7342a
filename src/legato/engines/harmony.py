"""The channels of gpt-oss ("harmony"), which servers without a parser for them pass on as text. It does no I/O."""

import re
from typing import Literal, NamedTuple

START = ("<|channel|>", "<|start|>")
"""The beginning of a text with channels."""

_TOKEN = re.compile(r"<\|(start|channel|message|end|return|call|constrain)\|>")
_TOKENS = tuple(
    f"<|{name}|>" for name in ("start", "channel", "message", "end", "return", "call", "constrain")
)
_LONGEST = max(map(len, _TOKENS))
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?([\w.-]+)")


class HarmonyPiece(NamedTuple):
    """A piece of the answer or the reasoning, or a complete tool call, whose `text` is its arguments."""

    kind: Literal["text", "thinking", "call"]
    text: str
    name: str = ""


class HarmonyParser:
    """Separates the channels: `analysis` is reasoning, a message to a function is a tool call, everything else is the answer.

    It holds back only what may be the beginning of a token, and the arguments of a call.
    """

    __slots__ = ("_body", "_call", "_header", "_held", "_kind", "_name")

    def __init__(self) -> None:
        self._held = ""
        self._header = ""
        self._body = False
        self._kind: Literal["text", "thinking", "call"] = "text"
        self._name = ""
        self._call: list[str] = []

    def feed(self, text: str) -> list[HarmonyPiece]:
        """Return the pieces that `text` completes."""
        text, self._held = self._held + text, ""
        pieces: list[HarmonyPiece] = []
        at = 0
        for token in _TOKEN.finditer(text):
            self._write(text[at : token.start()], pieces)
            self._token(token[1], pieces)
            at = token.end()
        rest = text[at:]
        held = _start_of_a_token(rest)
        self._held = rest[len(rest) - held :]
        self._write(rest[: len(rest) - held], pieces)
        return pieces

    def end(self) -> list[HarmonyPiece]:
        """Return the pieces that are incomplete at the end of the reply."""
        pieces: list[HarmonyPiece] = []
        held, self._held = self._held, ""
        self._write(held, pieces)
        self._close(pieces)
        return pieces

    def _write(self, text: str, pieces: list[HarmonyPiece]) -> None:
        if not text:
            return
        if self._header:
            self._header += text
        elif self._body and self._kind == "call":
            self._call.append(text)
        elif text.strip() or self._body:
            pieces.append(HarmonyPiece(self._kind if self._body else "text", text))

    def _token(self, token: str, pieces: list[HarmonyPiece]) -> None:
        match token:
            case "start" | "channel" if not self._header:
                self._close(pieces)
                self._header = f"{token} "
            case "message":
                found = _RECIPIENT.search(self._header)
                self._name = found[1] if found else ""
                thinks = "analysis" in self._header
                self._kind = "call" if self._name else "thinking" if thinks else "text"
                self._header, self._body = "", True
            case "end" | "return" | "call":
                self._close(pieces)
                self._header = ""
            case _:
                self._header = f"{self._header or token} "

    def _close(self, pieces: list[HarmonyPiece]) -> None:
        if self._body and self._kind == "call":
            pieces.append(HarmonyPiece("call", "".join(self._call).strip(), self._name))
        self._call, self._body = [], False


def _start_of_a_token(text: str) -> int:
    """Return how many characters at the end of `text` may be the beginning of a token."""
    for length in range(min(_LONGEST - 1, len(text)), 0, -1):
        if any(token.startswith(text[-length:]) for token in _TOKENS):
            return length
    return 0
