"""The engine for an Ollama on this machine or another."""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request
from legato.engines.context_errors import LearnedContexts, context_refusal
from legato.engines.embedding import Embedding, check_vectors, vector_of
from legato.engines.http import ConnectionBrokeError, HttpClient, HttpResponse
from legato.engines.message_format import has_media
from legato.engines.ollama import codec, models
from legato.engines.ollama.address import address
from legato.engines.ollama.refused_parts import (
    RequestPart,
    notice,
    refused_part,
    sent_bytes,
    was_cut,
    without_parts,
)
from legato.engines.request_options import refuse_media, refuse_unsupported
from legato.engines.think_tags import ThinkTagParser
from legato.errors import (
    ContextExceededError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
    UnsupportedOptionError,
)
from legato.stream import State

_DOUBT_SECONDS = 30.0
"""How long to wait for text after an ending that came with text."""

_HEALTH_SECONDS = 4.5
_KNOWN_SECONDS = 300.0
"""How long capabilities are cached: a model may be pulled again, or created again with another template."""

T = TypeVar("T", bound=msgspec.Struct)


class OllamaEngine:
    """Uses `/api/chat` of the Ollama at `url`.

    `ca_file` (PEM) is trusted in addition to the system's authorities; `headers` are sent with every request, for a proxy that
    needs a key. `connect_timeout` is in seconds.

    :raises SettingsError: the URL is invalid, or `ca_file` cannot be read.
    """

    name = "ollama"

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
    ) -> None:
        self._server = HttpClient(
            url if "://" in url else address(url),
            who="Ollama",
            remedy="Start it with `ollama serve`, or set its URL.",
            ca_file=ca_file,
            headers=headers,
            connect_timeout=connect_timeout,
        )
        self._contexts = LearnedContexts()
        self._known: dict[str, tuple[float, Capabilities]] = {}
        self._loaded: dict[str, int | None] = {}
        self._refused: dict[str, frozenset[RequestPart]] = {}

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        refuse_unsupported(request, self._server.who, ("format", "logprobs", "raw", "suffix"))
        if request.logprobs is not None:
            await self._check_logprobs()
        if request.strict and has_media(request.turns):
            can = await self._capabilities(request.model)
            refuse_media(request, f"The model {request.model}", images=can.images)
        plain = request.raw or bool(request.suffix)
        if request.prefix and not plain and not (await self._capabilities(request.model)).supports_prefill:
            raise EngineRefusedError(
                f"The model {request.model} cannot go on behind a text: its template does not leave the reply open."
            )
        known = refused = self._refused.get(request.model, frozenset())
        while True:
            if request.strict and (lost := notice(request, refused)) is not None:
                raise UnsupportedOptionError(lost, next(iter(sorted(refused))))
            fit = without_parts(request, refused)
            if (detail := notice(request, refused)) is not None:
                out.state(State("reading", model=request.model, detail=detail))
            try:
                outcome = await self._generate(fit, out)
            except _PartRefusedError as error:
                refused |= {error.part}
                continue
            if refused != known and (request.model in self._refused or len(self._refused) < _MOST_MODELS):
                self._refused[request.model] = refused
            context = await self._loaded_context(fit)
            if was_cut(fit, outcome.usage, context):
                if request.strict:
                    self._contexts.learn(request.model, context)
                    read = outcome.usage.prompt_tokens if outcome.usage is not None else None
                    raise ContextExceededError(_CUT_STRICT.format(context=context, read=read), context)
                out.state(State("answering", model=request.model, detail=_CUT.format(context=context)))
            return outcome

    async def _generate(self, request: Request, out: ReplyWriter) -> Outcome:
        plain = request.raw or bool(request.suffix)
        path, body = (
            ("api/generate", codec.completion(request)) if plain else ("api/chat", codec.chat(request))
        )
        aloud = ThinkTagParser(out, goes_on=plain or bool(request.prefix))
        reply = codec.OllamaReplyParser(aloud, _new_id, [tool.name for tool in request.tools])
        look = asyncio.create_task(self._tell_loading(request.model, out))
        try:
            async with self._server.request("POST", path, body) as answer:
                look.cancel()
                if not answer.ok:
                    raise await self._refusal(answer, request.model, request)
                await _read(answer, reply)
            outcome = reply.end()
        finally:
            aloud.finish()
            look.cancel()
            await asyncio.wait([look])
        return outcome if outcome.model else msgspec.structs.replace(outcome, model=request.model)

    async def _tell_loading(self, model: str, out: ReplyWriter) -> None:
        """Report `loading` if Ollama has to load the model, which it does not say itself. The request does not wait for this check."""
        with suppress(EngineError):
            running = await self._ask("api/ps", models.OllamaModelList)
            self._loaded = _contexts(running)
            if models.full_name(model) not in self._loaded:
                out.state(State("loading", model=model))

    async def _check_logprobs(self) -> None:
        """Check that this Ollama is new enough for log probabilities: older ones ignore that they are asked for.

        :raises UnsupportedOptionError: it is too old.
        """
        version = (await self._ask("api/version", models.Version)).version
        if models.version_of(version) < _LOGPROBS:
            raise UnsupportedOptionError(
                f"{self._server.who} {version} tells no log probabilities. Update it to 0.12.11 or later.",
                "logprobs",
            )

    async def _loaded_context(self, request: Request) -> int | None:
        """Return the tokens of the context with which the model is loaded, None if they are not known or do not matter."""
        model = models.full_name(request.model)
        if model not in self._loaded and sent_bytes(request) >= _LONG_BYTES:
            with suppress(EngineError, TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    self._loaded = _contexts(await self._ask("api/ps", models.OllamaModelList))
        asked = request.options.get("num_ctx")
        return self._loaded.get(model) or (asked if isinstance(asked, int) and asked > 0 else None)

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        body: dict[str, Any] = {"model": model, "input": list(texts), "truncate": False}
        if dimensions is not None:
            body["dimensions"] = dimensions
        who = self._server.who
        async with self._server.request("POST", "api/embed", msgspec.json.encode(body)) as answer:
            if not answer.ok:
                raise await self._refusal(answer, model)
            told = self._understood(await answer.read(), models.EmbedResponse)
        vectors = check_vectors([vector_of(each) for each in told.embeddings], len(texts), dimensions, who)
        return Embedding(
            vectors,
            told.model or model,
            told.prompt_eval_count,
            None if told.load_duration is None else told.load_duration / 1e6,
            None if told.total_duration is None else told.total_duration / 1e6,
        )

    async def capabilities(self, model: str) -> Capabilities:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                known = await self._capabilities(model)
                refused = self._refused.get(model, frozenset())
                lengths = [known.context, self._loaded.get(models.full_name(model))]
                context = min((each for each in lengths if each is not None), default=None)
                return msgspec.structs.replace(
                    known,
                    context=self._contexts.of(model, context),
                    tools=known.tools and "tools" not in refused,
                    images=known.images and "images" not in refused,
                )
        except (EngineError, TimeoutError):
            return Capabilities()

    async def _capabilities(self, model: str) -> Capabilities:
        now = asyncio.get_running_loop().time()
        known = self._known.get(model)
        if known is not None and now < known[0]:
            return known[1]
        async with self._server.request("POST", "api/show", msgspec.json.encode({"model": model})) as answer:
            if not answer.ok:
                raise await self._refusal(answer, model)
            found = models.capabilities(self._understood(await answer.read(), models.ShowResponse))
        self._known[model] = (now + _KNOWN_SECONDS, found)
        return found

    async def models(self) -> tuple[Model, ...]:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                there = await self._ask("api/tags", models.OllamaModelList)
                running = await self._ask("api/ps", models.OllamaModelList)
        except TimeoutError:
            raise EngineUnavailableError(self._silent) from None
        loaded = {models.full_name(one.name): one for one in running.models or ()}
        return tuple(
            Model(
                name=one.name,
                engine=self.name,
                loaded=one.name in loaded,
                size=one.size,
                context=loaded[one.name].context_length if one.name in loaded else None,
                detail=one.details.sentence if one.details else None,
                chats=one.chats,
            )
            for one in there.models or ()
        )

    async def health(self) -> Health:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                version = await self._ask("api/version", models.Version)
                running = await self._ask("api/ps", models.OllamaModelList)
        except EngineError as error:
            return Health(ok=False, detail=error.message)
        except TimeoutError:
            return Health(ok=False, detail=self._silent)
        loaded = tuple(one.name for one in running.models or ())
        return Health(
            ok=True,
            detail=f"{self._server.who} answers; loaded: {', '.join(loaded) or 'no model yet'}.",
            version=version.version,
            loaded=loaded,
        )

    async def close(self) -> None:
        await self._server.close()

    @property
    def _silent(self) -> str:
        return f"{self._server.who} does not answer. Restart it."

    async def _ask(self, path: str, kind: type[T]) -> T:
        status, data = await self._server.fetch("GET", path)
        if not 200 <= status < 300:
            raise self._server.unexpected_status(status, {}, codec.failure(data))
        return self._understood(data, kind)

    def _understood(self, data: bytes, kind: type[T]) -> T:
        try:
            return models.read(data, kind)
        except ValueError as error:
            raise EngineUnavailableError(
                f"What answers is not Ollama, but something else ({self._server.who}). Check the URL."
            ) from error

    async def _refusal(self, answer: HttpResponse, model: str, request: Request | None = None) -> EngineError:
        status, message = answer.status, codec.failure(await answer.error_body())
        if request is not None and (part := refused_part(request, message or "")) is not None:
            return _PartRefusedError(f"{self._server.who} refuses the request: {message}.", part)
        who = self._server.who
        if request is not None and request.suffix and "insert" in message:
            return UnsupportedOptionError(f"{who} refuses the request: {message}.", "suffix")
        if status in (400, 413, 422, 500) and (refusal := context_refusal(message)) is not None:
            self._contexts.learn(model, refusal.limit)
            return ContextExceededError(f"{who} refuses the request: {message}.", *refusal)
        if status == 404 and message:
            return ModelNotFoundError(
                f"{who} has no model {model}: run `ollama pull {model}`, or choose another model."
            )
        if status == 404:
            return EngineUnavailableError(
                f"What answers is not Ollama, but something else ({who}). Check the URL."
            )
        if status in (401, 403, 407):
            suffix = f" ({message})" if message else ""
            return EngineRefusedError(
                f"{who} does not let us in{suffix}: check the `headers` of this engine."
            )
        if codec.refuses(status, message):
            return EngineRefusedError(f"{who} refuses the request: {message or status}.")
        return self._server.unexpected_status(status, answer.headers, message)


class _PartRefusedError(EngineRefusedError):
    """The model cannot do `part` of the request."""

    def __init__(self, message: str, part: RequestPart) -> None:
        super().__init__(message)
        self.part = part


_CUT = (
    "Ollama has read only the end of this conversation: its context is {context} tokens. "
    "Set a larger `num_ctx` in the options of the assistant, or begin a new conversation."
)

_CUT_STRICT = (
    "Ollama has cut the prompt: it has read {read} tokens, and its context is {context}. "
    "Send a shorter prompt, or set a larger `num_ctx`."
)

_LOGPROBS = (0, 12, 11)
"""The first version that tells log probabilities."""

_MOST_MODELS = 1000

_LONG_BYTES = 4000
"""Bytes of a prompt below which no context is too small."""

_LOOK_SECONDS = 1.0
"""How long a complete reply waits for the size of the context."""


def _contexts(running: models.OllamaModelList) -> dict[str, int | None]:
    """Return the context of each loaded model."""
    return {models.full_name(one.name): one.context_length for one in running.models or ()}


async def _read(answer: HttpResponse, reply: codec.OllamaReplyParser) -> None:
    """Read until the reply ends. More text may follow an ending that came with text.

    :raises ConnectionBrokeError: the connection broke before the reply ended.
    """
    try:
        while not reply.done:
            waits = reply.ended and not reply.premature
            try:
                async with asyncio.timeout(_DOUBT_SECONDS if waits else None):
                    data = await answer.more()
            except TimeoutError:
                return
            if not data:
                return
            reply.feed(data)
    except ConnectionBrokeError:
        reply.flush()
        if not reply.ended or reply.premature:
            raise
        return
    await answer.drain()


def _new_id() -> str:
    return f"call_{secrets.token_hex(6)}"
