"""The engine for any server with OpenAI's chat completions."""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from yarl import URL

from legato.engines.base import Capabilities, Health, Model, Outcome, ReplyWriter, Request
from legato.engines.context_errors import LearnedContexts
from legato.engines.embedding import Embedding, check_vectors
from legato.engines.http import ConnectionBrokeError, HttpClient, HttpResponse
from legato.engines.model_kind import is_chat_model
from legato.engines.openai import errors
from legato.engines.openai.codec import OpenAIReplyParser
from legato.engines.openai.embeddings import embeddings_in
from legato.engines.openai.learned_refusals import PICTURES, TRIES, LearnedRefusals, RequestLimits, notice
from legato.engines.openai.models import OpenAIModel, models_in
from legato.engines.openai.request import asked_fields, completion_fields, prompt_fields
from legato.engines.request_options import refuse_unsupported
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

_COST_SECONDS = 2.0
"""How long to wait for usage after the end of a reply."""

_DOUBT = 15
"""How many times longer to wait if the ending came with text: some servers send `stop` with every piece."""

_HEALTH_SECONDS = 4.5
_KNOWN_SECONDS = 300.0
_TOO_LONG = frozenset({400, 413, 422, 500})
_REFUSED = frozenset({400, 405, 406, 411, 413, 414, 415, 422})


_CHAT = ("format", "tool_choice", "parallel_tools", "logprobs", "raw", "suffix")
_PLAIN = ("logprobs", "raw", "suffix")
"""What a request without a template may ask for."""


class _RequestRefusedError(EngineRefusedError):
    """The server refuses what is in the request. `said` is all that its answer says, `field` the field that it is about; empty if
    the answer names none.
    """

    def __init__(self, message: str, said: str, field: str = "") -> None:
        super().__init__(message)
        self.said = said
        self.field = field


def base_url(url: str) -> str:
    """Return the base URL of `/chat/completions`: a URL without a path gets `/v1`."""
    url = url.strip().rstrip("/").removesuffix("/chat/completions")
    try:
        versioned = any(re.match(r"v\d", segment) for segment in URL(url).parts)
    except ValueError:
        versioned = True
    return url if versioned else f"{url}/v1"


class OpenAIEngine:
    """Uses the server at `url` (with or without `/v1`), or behind `unix_socket`.

    `continues`: the server continues a final assistant message, as llama.cpp's does; `sees`: its models accept pictures;
    `hears`: they accept recordings (`input_audio`). `name` is the name in settings, `who` the name in sentences. `extra_body`
    are fields of every completion, which the options of a request override; a field that is None there is left out.

    :raises SettingsError: the URL is invalid, or `ca_file` cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        ca_file: str | Path | None = None,
        unix_socket: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 5.0,
        continues: bool = False,
        sees: bool = True,
        hears: bool = False,
        name: str = "openai",
        who: str = "The model server",
        extra_body: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = HttpClient(
            base_url(url),
            who=who,
            remedy="Check that it runs, and that its URL is right.",
            ca_file=ca_file,
            unix_socket=unix_socket,
            headers={**({"Authorization": f"Bearer {api_key}"} if api_key else {}), **(headers or {})},
            connect_timeout=connect_timeout,
        )
        self._name = name
        self._continues = continues
        self._sees = sees
        self._hears = hears
        self._extra = dict(extra_body or {})
        self._contexts = LearnedContexts()
        self._refusals = LearnedRefusals()
        self._listed: tuple[float, dict[str, int | None]] = (float("-inf"), {})

    @property
    def name(self) -> str:
        return self._name

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        refuse_unsupported(request, self._server.who, _CHAT)
        plain = request.raw or bool(request.suffix)
        if plain:
            refuse_unsupported(request, self._server.who, _PLAIN)
        elif request.prefix and not self._continues:
            raise EngineRefusedError(f"{self._server.who} cannot go on behind a text.")
        path, fields_of = ("completions", prompt_fields) if plain else ("chat/completions", completion_fields)
        limits = known = self._refusals.of(request.model)
        first: _RequestRefusedError | None = None
        for tries in range(TRIES + 1):
            if request.strict:
                _check_strict(request, limits, first)
            if detail := notice(request, limits):
                out.state(State("reading", model=request.model, detail=detail))
            fields = fields_of(request, self._extra, limits)
            try:
                outcome = await self._generate(request, path, msgspec.json.encode(fields), out)
            except _RequestRefusedError as error:
                first = first or error
                changed = self._refusals.next(request, frozenset(fields), limits, error.said)
                if changed is None or tries == TRIES:
                    raise _refused(request, first) from None
                limits = changed
            else:
                if limits != known:
                    self._refusals.learn(request.model, limits)
                return outcome
        raise AssertionError

    async def _generate(self, request: Request, path: str, body: bytes, out: ReplyWriter) -> Outcome:
        aloud = ThinkTagParser(out, goes_on=bool(request.prefix) or path == "completions")
        names = [tool.name for tool in request.tools]
        reply = OpenAIReplyParser(aloud, _new_id, self._server.who, names)
        try:
            async with self._server.request("POST", path, body) as answer:
                if not answer.ok:
                    raise await self._refusal(answer, request.model)
                await _read(answer, reply)
            outcome = reply.end()
        finally:
            aloud.finish()
        return outcome if outcome.model else msgspec.structs.replace(outcome, model=request.model)

    async def embed(self, model: str, texts: Sequence[str], dimensions: int | None = None) -> Embedding:
        body: dict[str, Any] = {"model": model, "input": list(texts)}
        if dimensions is not None:
            body["dimensions"] = dimensions
        who = self._server.who
        async with self._server.request("POST", "embeddings", msgspec.json.encode(body)) as answer:
            if not answer.ok:
                raise _embedding_refusal(await self._refusal(answer, model), dimensions)
            data = await answer.read()
        found, told, tokens = embeddings_in(data)
        return Embedding(check_vectors(found, len(texts), dimensions, who), told or model, tokens)

    async def capabilities(self, model: str) -> Capabilities:
        """Return the configured capabilities: the protocol cannot report them. Tools are part of it; a model without tools refuses them."""
        now = asyncio.get_running_loop().time()
        until, contexts = self._listed
        if now >= until:
            try:
                async with asyncio.timeout(_HEALTH_SECONDS):
                    contexts = {one.id: one.context for one in await self._models()}
            except (EngineError, TimeoutError):
                contexts = {}
            else:
                self._listed = (now + _KNOWN_SECONDS, contexts)
        refused = self._refusals.of(model)
        return Capabilities(
            supports_prefill=self._continues,
            tools=True,
            images=self._sees and not set(PICTURES) <= refused.pictures,
            image_types=refused.image_types,
            audio=self._hears,
            context=self._contexts.of(model, contexts.get(model)),
        )

    async def models(self) -> tuple[Model, ...]:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                listed = await self._models()
        except TimeoutError:
            raise EngineUnavailableError(self._silent) from None
        except EngineUnavailableError:
            raise
        except EngineError as error:
            raise EngineUnavailableError(error.message) from error
        return tuple(
            Model(name=one.id, engine=self._name, context=one.context, chats=is_chat_model(one.id))
            for one in listed
        )

    async def health(self) -> Health:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                listed = await self._models()
        except EngineError as error:
            return Health(ok=False, detail=error.message)
        except TimeoutError:
            return Health(ok=False, detail=self._silent)
        return Health(ok=True, detail=f"{self._server.who} answers and offers {len(listed)} models.")

    async def close(self) -> None:
        await self._server.close()

    @property
    def _silent(self) -> str:
        return f"{self._server.who} does not answer. Check that it runs."

    async def _models(self) -> list[OpenAIModel]:
        async with self._server.request("GET", "models") as answer:
            if not answer.ok:
                raise await self._refusal(answer, "")
            data = await answer.read()
        try:
            return models_in(data)
        except ValueError as error:
            raise EngineUnavailableError(
                f"{self._server.who} does not speak the OpenAI protocol. Check the URL."
            ) from error

    async def _refusal(self, answer: HttpResponse, model: str) -> EngineError:
        status, who = answer.status, self._server.who
        body = await answer.error_body()
        failure = errors.failure(body)
        message = failure.message if failure else errors.explanation(body)
        if status in _TOO_LONG and (refusal := errors.context_in(body, message)) is not None:
            self._contexts.learn(model, refusal.limit)
            return ContextExceededError(f"{who} refuses the request: {message or status}.", *refusal)
        if status == 401:
            return EngineRefusedError(f"{who} does not accept the key: set `api_key` of this engine.")
        if status == 403:
            return EngineRefusedError(
                f"{who} does not let this key do that{f' ({message})' if message else ''}."
            )
        if status == 404 and model and failure and errors.means_model(failure):
            return ModelNotFoundError(f"{who} has no model {model}: choose one that it offers.")
        if status == 404:
            return EngineUnavailableError(f"{who} does not know this address. Check the URL.")
        if status == 429 and failure and failure.code == "insufficient_quota":
            return EngineRefusedError(f"{who} refuses the request: {message}.")
        if status in _REFUSED:
            return _RequestRefusedError(
                f"{who} refuses the request: {message or status}.",
                errors.details(body),
                errors.field_in(body),
            )
        return self._server.unexpected_status(status, answer.headers, message)


def _check_strict(request: Request, limits: RequestLimits, refusal: _RequestRefusedError | None) -> None:
    """Check that the request needs nothing that the server refuses.

    :raises UnsupportedOptionError: it does.
    """
    option = next((name for field, name in asked_fields(request).items() if field in limits.fields), None)
    lost = notice(request, limits)
    if option is None and lost is not None:
        option = "images"
    if option is not None:
        told = refusal.message if refusal is not None else lost or f"The model server has refused `{option}`."
        raise UnsupportedOptionError(f"{told} Leave this out.", option)


def _embedding_refusal(error: EngineError, dimensions: int | None) -> EngineError:
    """Return the refusal of a text, with the name of the option that it is about if it says so."""
    if not isinstance(error, _RequestRefusedError):
        return error
    if dimensions is not None and "dimensions" in f"{error.field} {error.said}":
        return UnsupportedOptionError(error.message, "dimensions")
    return EngineRefusedError(error.message)


def _refused(request: Request, refusal: _RequestRefusedError) -> EngineRefusedError:
    """Return the final refusal, with the name of the option that it is about if it says so."""
    option = asked_fields(request).get(refusal.field.partition(".")[0])
    if option is None:
        return EngineRefusedError(refusal.message)
    return UnsupportedOptionError(refusal.message, option)


async def _read(answer: HttpResponse, reply: OpenAIReplyParser) -> None:
    """Read until the reply ends. After an ending, usage and `[DONE]` may follow, or nothing on a connection that stays open; more
    text may follow an ending that came with text.

    :raises ConnectionBrokeError: the connection broke before the reply ended.
    """
    try:
        while not reply.done:
            wait = _COST_SECONDS if reply.certain else _COST_SECONDS * _DOUBT
            waits = reply.ended and not reply.premature
            try:
                if waits:
                    async with asyncio.timeout(wait):
                        data = await answer.more()
                else:
                    data = await answer.more()
            except TimeoutError:
                return
            if not data:
                break
            reply.feed(data)
    except ConnectionBrokeError:
        reply.flush()
        if not reply.ended or reply.premature:
            raise
        return
    if reply.done:
        await answer.drain()


def _new_id() -> str:
    return f"call_{secrets.token_hex(6)}"
