"""The program of the child process: `python -m legato.engines.llama.worker`.

It reads a `WorkerConfig` from its standard input, which then stays open to show that the parent lives, and forks. The
worker loads the model and runs llama.cpp's server; it can hold the interpreter's lock for seconds, and die of native code.
The watcher process waits: when its input ends (the parent is gone, for any reason), it kills the worker; when the worker
ends, it ends in the same way. In both cases the socket is removed. If the watcher itself is killed, the worker ends too.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from legato.engines.llama.worker_protocol import (
    WorkerConfig,
    WorkerFailed,
    WorkerMessage,
    WorkerReady,
    decode_launch,
    encode,
)

_PR_SET_PDEATHSIG = 1

_WARNINGS = 2
"""llama.cpp's level for warnings and errors; above it, it writes several lines about each reply."""


def main() -> NoReturn:
    line = sys.stdin.buffer.readline()
    if not line:
        os._exit(0)
    launch = decode_launch(line)
    # Each holds one end of an unused pipe: the pipe ends when the other process is gone.
    worker_gone, worker_lives = os.pipe()
    watcher_gone, guard_lives = os.pipe()
    watcher = os.getpid()
    worker = os.fork()
    if worker:
        os.close(worker_lives)
        os.close(watcher_gone)
        _guard(worker, worker_gone, Path(launch.socket).parent)
    os.close(worker_gone)
    os.close(guard_lives)
    _die_with(watcher, watcher_gone)
    _work(launch)


def _guard(worker: int, worker_gone: int, directory: Path) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda _number, _frame: os.kill(worker, signal.SIGKILL))
    os.close(1)
    watched = [0, worker_gone]
    while worker_gone not in (readable := select.select(watched, [], [])[0]):
        if readable and not os.read(0, 4096):
            os.kill(worker, signal.SIGKILL)
            watched.remove(0)
    _, status = os.waitpid(worker, 0)
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(os.waitstatus_to_exitcode(status) % 256)


def _work(launch: WorkerConfig) -> NoReturn:
    # llama.cpp writes to standard output; the messages to the parent use another descriptor.
    voice = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(word: WorkerMessage) -> None:
        voice.write(encode(word) + b"\n")

    try:
        server = _serve(launch)
    except ImportError as error:
        say(WorkerFailed(f"the package xllamacpp cannot be used ({error})"))
        os._exit(1)
    except Exception as error:  # noqa: BLE001 - any error of native code is reported to the parent
        say(WorkerFailed(str(error)))
        # Native code writes its log on a thread of its own; only a regular exit waits for it.
        sys.exit(1)
    say(WorkerReady(os.getpid()))
    while server:
        signal.pause()
    os._exit(0)


def _serve(launch: WorkerConfig) -> object:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = launch.model
    params.model_alias = {launch.name}
    if launch.projector:
        params.mmproj.path = launch.projector
    params.hostnames = [launch.socket]
    params.api_keys = [launch.key]
    params.n_parallel = launch.slots
    params.n_ctx = launch.context * launch.slots
    params.n_batch = params.n_ubatch = _step(xllamacpp.get_device_info())
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = launch.threads
    params.cache_ram_mib = launch.cache_mib
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    params.verbosity = _WARNINGS
    return xllamacpp.Server(params)


def _step(devices: list[dict[str, Any]]) -> int:
    """Return how many tokens of a prompt are read at once. Between two steps the other slots write a token, and a stop is handled.

    On a CPU, a model of half a billion weights takes 0.4 s for 32 tokens and 1.5 s for 128, which reads 13 % faster.
    """
    return 128 if any(device["type"].name.endswith("GPU") for device in devices) else 32


def _die_with(watcher: int, watcher_gone: int) -> None:
    """End when the watcher ends. Linux does this even while native code holds the interpreter."""

    def wait() -> None:
        os.read(watcher_gone, 1)
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != watcher:
            os._exit(0)


if __name__ == "__main__":
    main()
