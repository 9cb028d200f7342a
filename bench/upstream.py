"""An OpenAI-compatible server that says the same to everyone, a token in each event, at a steady pace.

    upstream.py PORT TOKENS_PER_SECOND TOKENS

Every token carries the moment at which it left, in nanoseconds of the monotonic clock.
"""

import asyncio
import sys
import time

import uvloop

port, pace, length = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":0,"owned_by":"bench"}]}'


def event(delta: str, reason: str = "null") -> bytes:
    said = (
        f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        f'[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}]}}\n\n'
    ).encode()
    return b"%x\r\n%b\r\n" % (len(said), said)


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            size = next(
                (
                    int(line.partition(b":")[2])
                    for line in head.splitlines()
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            await reader.readexactly(size)
            if head.startswith(b"GET"):
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(MODELS), MODELS)
                )
            else:
                await speak(writer)
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def speak(writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    writer.write(HEADERS + event('{"role":"assistant","content":""}'))
    begun = loop.time()
    for number in range(length):
        await asyncio.sleep(begun + number / pace - loop.time())
        writer.write(event(f'{{"content":" <{time.perf_counter_ns()}>"}}'))
    last = b"data: [DONE]\n\n"
    writer.write(event("{}", '"stop"') + b"%x\r\n%b\r\n0\r\n\r\n" % (len(last), last))
    await writer.drain()


async def main() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
