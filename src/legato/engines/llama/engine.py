"""The embedded engine: llama.cpp's server in a child process, over a Unix socket."""

import asyncio
import os
import re
import threading
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from legato.domain.message import ImagePart
from legato.engines.base import (
    Capabilities,
    Health,
    Model,
    Outcome,
    ReplyWriter,
    Request,
    TokenLogprob,
    ToolCall,
)
from legato.engines.llama import load_errors, packaged_model, prompt
from legato.engines.llama.metadata import Metadata, read_metadata
from legato.engines.llama.model_files import DEFAULT, find_model, name_of
from legato.engines.llama.slot_queue import SlotQueue
from legato.engines.llama.supervisor import Supervisor, WorkerProcess
from legato.engines.llama.worker_protocol import WorkerConfig
from legato.engines.openai.engine import OpenAIEngine
from legato.engines.request_options import refuse_media, refuse_unsupported
from legato.errors import (
    EngineBrokeError,
    EngineError,
    EngineRefusedError,
    EngineUnavailableError,
    ModelNotFoundError,
    UnsupportedOptionError,
)
from legato.stream import State, Timings

CONTEXT: Final = 4096
"""Default tokens for each slot, if the model was trained for as many."""

_PICTURES: Final = ("image/gif", "image/jpeg", "image/png")
"""The formats that llama.cpp's decoder (stb_image) reads; of a GIF the first frame."""

_ABOUT_FORMATS: Final = re.compile(r"JSON schema|grammar", re.IGNORECASE)
"""Words of a refusal that is about the format of the reply."""

_RESTARTS: Final = 2
_DEATH_SECONDS: Final = 1.0
_CAPABILITIES_SECONDS: Final = 5.0


class LlamaEngine:
    """Generates replies with one model file.

    `model` is the name for `model_files.find_model`, or None. `slots` replies are generated at once, each with `context` tokens
    (None: the model's own length, at most 4,096); further requests are queued. `threads` is the number of compute threads
    (None: one fewer than there are cores). `mmproj` is the projector file for pictures. `directory` contains downloaded
    models. `cache_mib` limits the cache of conversations without a slot.

    If the child dies, its replies continue after the text that was already written, at most twice for one reply.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        directory: Path,
        slots: int | None = None,
        context: int | None = None,
        threads: int | None = None,
        mmproj: Path | None = None,
        cache_mib: int = 256,
    ) -> None:
        self._asked_for = model
        self._directory = directory
        self._slots = slots or 2
        self._context = context
        self._threads = threads or max(1, _cores() - 1)
        self._mmproj = mmproj
        self._cache_mib = cache_mib
        self._name = name_of(Path(model or DEFAULT.file))
        self._places = SlotQueue(self._slots)
        self._file: Path | None = None
        self._metadata: Metadata | None = None
        self._without = prompt.control_token_remover(())
        self._closing = threading.Event()
        self._preparing: asyncio.Task[None] | None = None
        self._supervisor = Supervisor(self._launch, self._explain)
        self._current_client: tuple[WorkerProcess, OpenAIEngine] | None = None

    @property
    def name(self) -> str:
        return "llama"

    @property
    def model(self) -> str:
        """The name of its model."""
        return self._name

    @property
    def child(self) -> WorkerProcess | None:
        """The process that accepts requests now, if there is one."""
        return self._supervisor.child

    async def start(self) -> None:
        """Find the model file, download it if necessary, and start the child without waiting for it.

        :raises ModelNotFoundError: there is no such file.
        :raises EngineUnavailableError: it cannot be downloaded, is not a model, or the package xllamacpp is missing.
        """
        await self.prepare()
        self._supervisor.start()

    async def ready(self) -> WorkerProcess:
        """Wait for the child until it accepts requests, and return it.

        :raises ModelNotFoundError: there is no such model file.
        :raises EngineUnavailableError: it cannot be downloaded or loaded.
        """
        await self.prepare()
        return await self._supervisor.ready()

    async def generate(self, request: Request, out: ReplyWriter) -> Outcome:
        self._check(request)
        loop = asyncio.get_running_loop()
        asked_at = loop.time()

        def moved(place: int) -> None:
            out.state(State("queued", model=self._name, place=place))

        async with self._places.hold(moved):
            turn_at = loop.time()
            child = await self._waited(out)
            self._check_tools(request)
            loaded_at = loop.time()
            outcome = await self._write(request, out, child)
        self._supervisor.worked()
        timings = outcome.timings or Timings()
        return msgspec.structs.replace(
            outcome,
            model=self._name,
            timings=msgspec.structs.replace(
                timings, queued_ms=1000 * (turn_at - asked_at), load_ms=1000 * (loaded_at - turn_at)
            ),
        )

    async def capabilities(self, model: str) -> Capabilities:
        try:
            async with asyncio.timeout(_CAPABILITIES_SECONDS):
                await self.prepare()
        except (EngineError, TimeoutError):
            return Capabilities()
        metadata = self._metadata
        if metadata is None or model not in self._names():
            return Capabilities()
        return Capabilities(
            supports_prefill=True,
            tools=metadata.tools,
            images=self._mmproj is not None,
            image_types=_PICTURES if self._mmproj is not None else (),
            thinks=metadata.thinks,
            context=self._context_of(metadata),
        )

    async def models(self) -> tuple[Model, ...]:
        metadata = self._metadata
        return (
            Model(
                name=self._name,
                engine=self.name,
                loaded=self._supervisor.child is not None,
                size=metadata.size if metadata else None,
                context=self._context_of(metadata) if metadata else None,
            ),
        )

    async def health(self) -> Health:
        version = _version()
        if self._supervisor.child is not None:
            return Health(ok=True, detail=f"{self._name} is loaded.", version=version, loaded=(self._name,))
        failure = self._supervisor.failure or _failure(self._preparing)
        if failure is not None:
            return Health(ok=False, detail=failure.message, version=version)
        if self._metadata is None:
            return Health(ok=False, detail=f"The file of {self._name} is not here yet.", version=version)
        return Health(ok=True, detail=f"{self._name} is being loaded.", version=version)

    async def close(self) -> None:
        self._closing.set()
        if self._preparing is not None:
            await asyncio.wait([self._preparing])
        await self._supervisor.close()
        if self._current_client is not None:
            await self._current_client[1].close()

    async def _write(self, request: Request, out: ReplyWriter, child: WorkerProcess) -> Outcome:
        if self._name == packaged_model.NAME:
            request = msgspec.structs.replace(request, options=packaged_model.OPTIONS | request.options)
        recorder = _Recorder(out)
        for restarts in range(_RESTARTS + 1):
            if restarts:
                child = await self._waited(out)
                recorder.start_over()
            try:
                client = await self._client(child)
                rest = prompt.llama_request(
                    request, self._name, self._without, written=recorder.output, pieces=recorder.pieces
                )
                return await client.generate(rest, recorder)
            except EngineRefusedError as error:
                if request.format is not None and _ABOUT_FORMATS.search(error.message):
                    raise UnsupportedOptionError(error.message, "format") from error
                raise
            except EngineError as error:
                if not error.retryable or not await child.died(within=_DEATH_SECONDS):
                    raise
                cause = error
        raise EngineBrokeError(
            f"The model {self._name} died {_RESTARTS + 1} times of this reply, so it was given up. "
            "Ask in another way, or choose another model."
        ) from cause

    async def _waited(self, out: ReplyWriter) -> WorkerProcess:
        child = self._supervisor.child
        if child is not None:
            return child
        out.state(State("loading", model=self._name))
        return await self.ready()

    async def _client(self, child: WorkerProcess) -> OpenAIEngine:
        """Return the client of this child, and close the client of the previous one.

        :raises EngineUnavailableError: the child is dead.
        """
        if self._current_client is not None and self._current_client[0] is child:
            return self._current_client[1]
        if not child.alive:
            raise EngineUnavailableError(f"The model {self._name} died before it was asked.")
        before = self._current_client
        client = OpenAIEngine(
            "http://llama/v1",
            who="The embedded model",
            api_key=child.key,
            unix_socket=child.socket,
            # The server closes the connection after a stream without notice, and the next request would fail on it.
            headers={"Connection": "close"},
            continues=True,
            name=self.name,
            extra_body={"return_progress": True},
        )
        self._current_client = (child, client)
        if before is not None:
            await before[1].close()
        return client

    async def prepare(self) -> None:
        """Find the model file and read its metadata, once for all callers. After a failure the next caller tries again.

        :raises ModelNotFoundError: there is no such file.
        :raises EngineUnavailableError: it cannot be downloaded, is not a model or too large, or xllamacpp is missing.
        """
        if self._metadata is not None:
            return
        task = self._preparing
        if task is None or task.done():
            task = self._preparing = asyncio.get_running_loop().create_task(
                self._find(), name="llama model file"
            )
            # The caller may be gone; the next caller gets the failure.
            task.add_done_callback(_failure)
        await asyncio.shield(task)

    async def _find(self) -> None:
        if find_spec("xllamacpp") is None:
            raise EngineUnavailableError(load_errors.MISSING)
        file = await asyncio.to_thread(
            find_model, self._asked_for, self._directory, stopped=self._closing.is_set
        )
        metadata = await asyncio.to_thread(read_metadata, file)
        memory = load_errors.installed()
        if (
            memory is not None
            and load_errors.needed(metadata, self._context_of(metadata), self._slots) > memory
        ):
            raise EngineUnavailableError(load_errors.no_memory(name_of(file), self._slots))
        self._file = file
        self._name = name_of(file)
        self._without = prompt.control_token_remover(metadata.control)
        self._metadata = metadata

    def _launch(self, socket: Path, key: str) -> WorkerConfig:
        if self._file is None or self._metadata is None:
            raise AssertionError
        return WorkerConfig(
            model=str(self._file),
            name=self._name,
            socket=str(socket),
            key=key,
            slots=self._slots,
            context=self._context_of(self._metadata),
            threads=self._threads,
            cache_mib=self._cache_mib,
            projector=str(self._mmproj) if self._mmproj else None,
        )

    def _context_of(self, metadata: Metadata) -> int:
        trained = metadata.context or self._context or CONTEXT
        return min(self._context or CONTEXT, trained)

    def _explain(self, output: str) -> str:
        return load_errors.sentence(output, self._name, self._file, self._slots)

    def _check(self, request: Request) -> None:
        refuse_unsupported(
            request, "The embedded model", ("format", "tool_choice", "parallel_tools", "logprobs", "raw")
        )
        if request.model not in self._names():
            raise ModelNotFoundError(
                f"The engine llama has no model {request.model!r}; it runs {self._name!r}."
            )
        if self._mmproj is None and any(
            isinstance(part, ImagePart) and part.data for turn in request.turns for part in turn.parts
        ):
            raise UnsupportedOptionError(
                f"The model {self._name} cannot see images. Leave the image out, or set mmproj in [engines.llama].",
                "images",
            )
        refuse_media(request, f"The model {self._name}", images=True)

    def _check_tools(self, request: Request) -> None:
        """Check that the model is told of the tools of a strict request: a template without tools leaves them out."""
        if request.strict and request.tools and self._metadata is not None and not self._metadata.tools:
            raise UnsupportedOptionError(
                f"The model {self._name} cannot use tools. Leave them out, or choose another model.", "tools"
            )

    def _names(self) -> tuple[str, ...]:
        return ("", self._name, self._asked_for or self._name)


class _Recorder:
    """Records what was written, so that another child can continue it if this one dies."""

    def __init__(self, out: ReplyWriter) -> None:
        self._out = out
        self._text: list[str] = []
        self._thought = False
        self._restarted = False
        self.pieces = 0

    @property
    def output(self) -> str:
        return "".join(self._text)

    def start_over(self) -> None:
        """Prepare for the output of another child."""
        self._restarted = self._thought and not self._text

    def text(self, text: str) -> None:
        if text:
            self._text.append(text)
            self.pieces += 1
        self._out.text(text)

    def reasoning(self, text: str) -> None:
        # Reasoning cannot be continued: it starts again from here.
        self._out.reasoning(f"\n\n{text}" if self._restarted else text)
        self._restarted = False
        self._thought = True

    def logprobs(self, tokens: tuple[TokenLogprob, ...]) -> None:
        self._out.logprobs(tokens)

    def tool_call(self, call: ToolCall) -> None:
        self._out.tool_call(call)

    def state(self, state: State) -> None:
        self._out.state(state)

    def mark(self) -> int:
        return 0

    def rewind(self, to: int = 0) -> bool:
        """Take back all text, as a parser of thinking asks for. Return False if there is thinking before it."""
        if to or self._thought or not self._out.rewind():
            return False
        self._text.clear()
        return True


def _failure(task: asyncio.Task[None] | None) -> EngineError | None:
    error = task.exception() if task is not None and task.done() and not task.cancelled() else None
    return error if isinstance(error, EngineError) else None


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _version() -> str | None:
    try:
        return f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        return None
