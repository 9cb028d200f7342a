"""The object `response` of OpenAI's Responses while it is written: what its events so far add up to. Pure values."""

from collections.abc import Mapping, Sequence
from typing import Any

ENDED = frozenset({"completed", "failed", "incomplete", "cancelled"})
"""The statuses of a response that nothing is added to any more."""


class ResponseState:
    """A response. `fields` are what the request set, as the response tells them again.

    `items` are its output; the text of the last one may still grow. `created` is in seconds since the epoch.
    """

    def __init__(self, response_id: str, created: int, model: str, fields: Mapping[str, Any]) -> None:
        self.id = response_id
        self.status = "in_progress"
        self.items: list[dict[str, Any]] = []
        self._created = created
        self._model = model
        self._fields = fields
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._end: dict[str, Any] = {}

    def document(self, *, output: bool = True, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the response as it is now. `output`: with its items. `fields` are told in place of what the request set."""
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created,
            "status": self.status,
            "background": False,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": [*self.items[:-1], *self._last()] if output else [],
            **(self._fields if fields is None else fields),
            "usage": None,
            **self._end,
        }

    def open(self, item: dict[str, Any]) -> None:
        """Add an item of the output."""
        self._clear()
        self.items.append(item)

    def grow(self, piece: str, logprobs: Sequence[dict[str, Any]] = ()) -> None:
        """Add to the text, the summary or the arguments of the last item."""
        self._pieces.append(piece)
        self._logprobs += logprobs

    def close(self, status: str) -> dict[str, Any]:
        """Complete the last item, and return it."""
        self.items[-1:] = self._last(status)
        self._clear()
        return self.items[-1]

    @property
    def logprobs(self) -> list[dict[str, Any]]:
        """What is told of the tokens of the last item so far."""
        return self._logprobs

    @property
    def text(self) -> str:
        """What the last item has gained so far."""
        return "".join(self._pieces)

    def end(self, status: str, **fields: Any) -> None:
        """End the response. An item that is open stays incomplete."""
        if self.items and self.items[-1]["status"] == "in_progress":
            self.close("incomplete")
        self.status = status
        self._end = fields

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take up an event that was written earlier."""
        match event["type"]:
            case "response.output_item.added":
                self.open(event["item"])
            case "response.output_item.done":
                self.items[-1] = event["item"]
                self._clear()
            case (
                "response.output_text.delta"
                | "response.reasoning_summary_text.delta"
                | "response.function_call_arguments.delta"
            ):
                self.grow(event["delta"], event.get("logprobs", ()))
            case (
                "response.created"
                | "response.queued"
                | "response.in_progress"
                | "response.completed"
                | "response.incomplete"
                | "response.failed"
            ):
                told = event["response"]
                self.status = told["status"]
                if self.status in ENDED:
                    self.items = told["output"]
                    names = ("completed_at", "error", "incomplete_details", "usage")
                    self._end = {name: told[name] for name in names}

    def _clear(self) -> None:
        self._pieces, self._logprobs = [], []

    def _last(self, status: str | None = None) -> list[dict[str, Any]]:
        """Return the last item with all it has gained, as a list of one or none."""
        if not self.items:
            return []
        item = self.items[-1] if status is None else {**self.items[-1], "status": status}
        if not (text := self.text):
            return [item]
        match item["type"]:
            case "message":
                return [{**item, "content": [text_part(text, self._logprobs)]}]
            case "reasoning":
                return [{**item, "summary": [summary_part(text)]}]
        return [{**item, "arguments": text}]


def text_part(text: str, logprobs: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def summary_part(text: str) -> dict[str, Any]:
    """Return a part of the summary of a reasoning."""
    return {"type": "summary_text", "text": text}
