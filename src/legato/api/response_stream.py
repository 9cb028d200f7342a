"""One response as its readers see it: whose it is, its log, and whether it can still become an error with a status."""

import asyncio
from typing import Any

from legato.api.byte_log import ByteLog
from legato.errors import LegatoError


class ResponseStream:
    """A response that is written or has ended. `id` is random and known to its owner only.

    `streams`: its frames are sent as they come. `error` is why it failed, None if it did not. `opened` is set when the first
    frame is written or the response has ended: until then a failure can still be a status. `done` is set when nothing of it
    runs any more. `document` is an object of the API's own, such as a response of OpenAI's Responses. `request` is what that API
    stored of its request. `created` is in seconds since the epoch.
    """

    __slots__ = (
        "api", "created", "document", "done", "error", "id", "log", "model", "opened", "owner", "request", "streams"
    )  # fmt: skip

    def __init__(
        self, stream_id: str, owner: str, api: str, model: str, created: float, log: ByteLog, *, streams: bool
    ) -> None:
        self.id = stream_id
        self.owner = owner
        self.api = api
        self.model = model
        self.created = created
        self.log = log
        self.streams = streams
        self.error: LegatoError | None = None
        self.document: Any = None
        self.request: Any = None
        self.opened = asyncio.Event()
        self.done = asyncio.Event()

    def end(self) -> None:
        """Close the log: nothing runs any more."""
        self.log.close()
        self.opened.set()
        self.done.set()
