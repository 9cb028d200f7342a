"""A double of a server that has OpenAI's `/v1/audio/transcriptions`: it reads the form as a real one does."""

from typing import Any

from aiohttp import web

from .server import Server


class TranscriptionsDouble(Server):
    """Run it with `async with`. `text` is what it hears; `status` other than 200 answers with `body`. `forms` are what it
    was sent: the fields, and of the file its name, type and bytes."""

    def __init__(self, api_key: str | None = None, **server: Any) -> None:
        super().__init__(**server)
        self.api_key = api_key
        self.text = "The quick brown fox."
        self.status = 200
        self.body: object = None
        self.forms: list[dict[str, Any]] = []
        self.app.router.add_post("/v1/audio/transcriptions", self._transcribe)

    async def _transcribe(self, request: web.Request) -> web.Response:
        if self.api_key is not None and request.headers.get("Authorization") != f"Bearer {self.api_key}":
            error = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            return web.json_response({"error": error}, status=401)
        form = await request.post()
        read: dict[str, Any] = {}
        for name, value in form.items():
            if isinstance(value, web.FileField):
                read[name] = (value.filename, value.content_type, value.file.read())
            else:
                read[name] = value
        self.forms.append(read)
        if not isinstance(read.get("file"), tuple) or "model" not in read:
            error = {
                "message": "you must provide a model parameter",
                "type": "invalid_request_error",
                "code": None,
            }
            return web.json_response({"error": error}, status=400)
        if self.status != 200:
            if isinstance(self.body, str):
                return web.Response(status=self.status, text=self.body)
            return web.json_response(self.body, status=self.status)
        if isinstance(self.body, str):
            return web.Response(text=self.body)
        usage = {"type": "duration", "seconds": 1}
        return web.json_response({"text": self.text, "usage": usage})
