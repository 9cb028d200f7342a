"""What a request of OpenAI's Responses continues: the stored responses before it, and items that it names by their ids."""

from typing import Any

from legato.api.generations import Generations
from legato.api.openai.response_items import ITEMS, encoded_size, is_reference
from legato.api.openai.response_state import ENDED
from legato.api.openai.responses_request import ResponseNotFoundError, ResponsesRequest
from legato.api.request_fields import InvalidFieldError
from legato.errors import NotFoundError

RESPONSES = 1000
"""How many responses stand one behind the other at most."""

HISTORY_BYTES = 32 * 1024 * 1024
"""How large the items of all responses of a conversation are at most, as JSON."""

_PREVIOUS = "previous_response_id"


def stream_id_of(response: str, param: str | None = None) -> str:
    """Return the id of the stream of a response.

    :raises ResponseNotFoundError: this is not the id of a response.
    """
    prefix, _, stream = response.partition("_")
    if prefix != "resp" or not stream:
        raise ResponseNotFoundError(param)
    return stream


def items_with_ids(stream_id: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the input of a response, with an id for each item that came without one."""
    return [{"id": f"item_{stream_id}_i{index}", **item} for index, item in enumerate(items)]


class ResponseHistory:
    """Reads stored responses of one owner. A response of another one is not found, as one that does not exist."""

    def __init__(self, generations: Generations, owner: str) -> None:
        self._generations = generations
        self._owner = owner

    async def before(self, previous: str | None) -> list[dict[str, Any]]:
        """Return the items of a response and of all before it, input and output, in their order, and keep them as long as a new one.

        :raises ResponseNotFoundError: there is no such response, or one before it has expired.
        :raises InvalidFieldError: the response has not ended, or there are too many.
        """
        turns: list[list[dict[str, Any]]] = []
        streams: list[str] = []
        count = size = 0
        while previous is not None:
            request, document = await self._record(previous, _PREVIOUS)
            if document["status"] not in ENDED:
                raise InvalidFieldError(
                    "The previous response has not ended yet. Wait for it, or cancel it.", _PREVIOUS
                )
            items = [*request["input"], *document["output"]]
            turns.append(items)
            streams.append(stream_id_of(previous))
            count += len(items)
            size += encoded_size(items)
            if len(turns) > RESPONSES or count > ITEMS or size > HISTORY_BYTES:
                raise InvalidFieldError(
                    "This conversation is too long to go on from a previous response. Send what matters as `input`.",
                    _PREVIOUS,
                )
            previous = request["previous"]
        if streams:
            await self._generations.keep(streams)
        return [item for items in reversed(turns) for item in items]

    async def resolved(self, asked: ResponsesRequest) -> list[dict[str, Any]]:
        """Return the input of a request, with the items themselves in place of references.

        :raises InvalidFieldError: there is no such item.
        """
        return [
            await self._item(item["id"], index) if is_reference(item) else item
            for index, item in enumerate(asked.items)
        ]

    async def _item(self, item: str, index: int) -> dict[str, Any]:
        where = f"input[{index}].id"
        stream = item.partition("_")[2].rpartition("_")[0]
        try:
            request, document = await self._record(f"resp_{stream}", None)
        except ResponseNotFoundError:
            request, document = {"input": []}, {"output": []}
        for each in (*items_with_ids(stream, request["input"]), *document["output"]):
            if each["id"] == item:
                return {**each}
        raise InvalidFieldError(
            "`input` names an item that is not stored. Send the item itself in place of its id.", where
        )

    async def _record(self, response: str, param: str | None) -> tuple[Any, Any]:
        try:
            request, document = await self._generations.record(self._owner, stream_id_of(response, param))
        except NotFoundError:
            raise ResponseNotFoundError(param) from None
        if request is None or document is None:
            raise ResponseNotFoundError(param)
        return request, document
