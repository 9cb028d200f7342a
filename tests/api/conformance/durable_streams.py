"""The write side of Durable Streams, for the public conformance suite. Reads go through the handlers of the server itself."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from legato.api.byte_log import ByteLog
from legato.api.durable_streams import StreamReadRequest, tells_messages
from legato.api.response_stream import ResponseStream
from legato.errors import GoneError, InvalidError, LegatoError
from legato.gateway.stream_read_response import StreamReadResponse, head_response

POLL_SECONDS = 0.5
MOST_SECONDS = 10**12
LARGEST = 2**53 - 1
NUMBER = "0123456789"


class RefusedError(LegatoError):
    """The request is refused with this status and these headers."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__("refused")
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Writable:
    """One stream that tests write: its log, how it was made, and what its producers sent."""

    def __init__(
        self, name: str, media_type: str, ttl: str | None, expires_at: str | None, closed: bool
    ) -> None:
        self.config = (media_type.partition(";")[0].strip().lower(), ttl, expires_at, closed)
        self.stream = ResponseStream(
            name, "ann", "openai", "m", time.time(), ByteLog(media_type), streams=True
        )
        self.ttl, self.expires_at = ttl, expires_at
        self.seq: str | None = None
        self.producers: dict[str, tuple[int, int]] = {}
        self.closer: tuple[str, int, int] | None = None
        self.touched = time.monotonic()

    @property
    def expired(self) -> bool:
        if self.ttl is not None:
            return time.monotonic() - self.touched >= int(self.ttl)
        return self.expires_at is not None and _seconds(self.expires_at) <= time.time()

    def append(self, body: bytes, *, created: bool = False) -> None:
        if not tells_messages(self.stream):
            if body:
                self.stream.log.append(body)
            return
        for message in _messages(body, created=created):
            self.stream.log.append(message)

    def headers(self, **more: str) -> dict[str, str]:
        headers = {"stream-next-offset": str(self.stream.log.end), "x-content-type-options": "nosniff"}
        if self.stream.log.closed:
            headers["stream-closed"] = "true"
        return headers | {name.replace("_", "-"): value for name, value in more.items()}


def app() -> FastAPI:
    """The server that the suite talks to."""
    app, known = FastAPI(openapi_url=None), dict[str, Writable]()

    def find(name: str) -> Writable:
        found = known.get(name)
        if found is not None and found.expired:
            del known[name]
            found = None
        if found is None:
            raise RefusedError(404)
        return found

    def create(request: Request, name: str, body: bytes) -> Response:
        closed = request.headers.get("stream-closed", "").lower() == "true"
        ttl, expires_at = _expiry(request)
        media_type = request.headers.get("content-type", "application/octet-stream")
        made = Writable(name, media_type, ttl, expires_at, closed)
        there = known.get(name)
        if there is not None and not there.expired:
            if there.config[:3] != made.config[:3] or there.stream.log.closed != closed:
                raise RefusedError(409, stream_closed="true" if there.stream.log.closed else "false")
            return Response(status_code=200, headers=there.headers(content_type=there.stream.log.media_type))
        made.append(body, created=True)
        if closed:
            made.stream.end()
        known[name] = made
        return Response(
            status_code=201, headers=made.headers(location=str(request.url), content_type=media_type)
        )

    def append(request: Request, name: str, body: bytes) -> Response:
        found = find(name)
        found.touched = time.monotonic()
        closes = request.headers.get("stream-closed", "").lower() == "true"
        producer = _producer(request)
        log = found.stream.log
        if log.closed:
            if (closes and not body and producer is None) or (
                producer is not None and producer == found.closer
            ):
                return Response(status_code=204, headers=found.headers(**_told(producer)))
            raise RefusedError(409, stream_closed="true", stream_next_offset=str(log.end))
        if body:
            media_type = request.headers.get("content-type")
            if media_type is None:
                raise RefusedError(400)
            if media_type.partition(";")[0].strip().lower() != found.config[0]:
                raise RefusedError(409)
        elif not closes:
            raise RefusedError(400)
        new = producer is None or _accept(found, producer)
        if new:
            seq = request.headers.get("stream-seq")
            if seq is not None and found.seq is not None and seq <= found.seq:
                raise RefusedError(409)
            if body:
                log.hold()
                try:
                    found.append(body)
                finally:
                    if not closes:
                        log.release()
            found.seq = seq or found.seq
            if producer is not None:
                found.producers[producer[0]] = producer[1:]
            if closes:
                found.closer = producer
                found.stream.end()
        status = 200 if new and producer is not None and body else 204
        told = producer
        if producer is not None and not new:
            told = (producer[0], *found.producers[producer[0]])
        return Response(status_code=status, headers=found.headers(**_told(told)))

    def read(request: Request, name: str) -> Response:
        found = find(name)
        found.touched = time.monotonic()
        asked = StreamReadRequest.parse(
            request.query_params.getlist("offset"),
            request.query_params.get("live"),
            request.query_params.get("cursor"),
            request.headers.get("last-event-id"),
        )
        known_tag = request.headers.get("if-none-match")
        return StreamReadResponse(
            found.stream, asked, lambda: lambda: None, _no_error, known=known_tag, poll_seconds=POLL_SECONDS
        )

    def head(name: str) -> Response:
        found = find(name)
        told = head_response(found.stream)
        if found.ttl is not None:
            told.headers["stream-ttl"] = found.ttl
        if found.expires_at is not None:
            told.headers["stream-expires-at"] = found.expires_at
        return told

    def delete(name: str) -> Response:
        find(name)
        del known[name]
        return Response(status_code=204)

    @app.api_route(
        "/{name:path}", methods=["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"], response_model=None
    )
    async def any_method(request: Request, name: str) -> Response:
        body = await request.body()
        answers: dict[str, Callable[[], Response]] = {
            "GET": lambda: read(request, name),
            "HEAD": lambda: head(name),
            "PUT": lambda: create(request, name, body),
            "POST": lambda: append(request, name, body),
            "DELETE": lambda: delete(name),
            "OPTIONS": lambda: Response(status_code=204, headers={"access-control-allow-headers": "*"}),
        }
        try:
            return answers[request.method]()
        except RefusedError as refused:
            headers = {"x-content-type-options": "nosniff", **refused.headers}
            return Response(status_code=refused.status, headers=headers)
        except InvalidError:
            return Response(status_code=400)
        except GoneError:
            return Response(status_code=410)

    return app


def _no_error(error: LegatoError) -> Response:
    raise AssertionError(error)


def _messages(body: bytes, *, created: bool) -> list[bytes]:
    if created and not body:
        return []
    try:
        value: Any = msgspec.json.decode(body)
    except msgspec.DecodeError:
        raise RefusedError(400) from None
    if value == [] and not created:
        raise RefusedError(400)
    return [msgspec.json.encode(each) for each in (value if isinstance(value, list) else [value])]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _expiry(request: Request) -> tuple[str | None, str | None]:
    ttl, expires_at = request.headers.get("stream-ttl"), request.headers.get("stream-expires-at")
    if ttl is not None and expires_at is not None:
        raise RefusedError(400)
    if ttl is not None and not (_is_number(ttl) and int(ttl) <= MOST_SECONDS):
        raise RefusedError(400)
    if expires_at is not None:
        try:
            _seconds(expires_at)
        except ValueError:
            raise RefusedError(400) from None
    return ttl, expires_at


def _is_number(text: str) -> bool:
    return text == "0" or (text != "" and all(each in NUMBER for each in text) and text[0] != "0")


def _producer(request: Request) -> tuple[str, int, int] | None:
    given = [request.headers.get(f"producer-{name}") for name in ("id", "epoch", "seq")]
    match given:
        case [None, None, None]:
            return None
        case [str() as name, str() as epoch, str() as seq] if name and _is_number(epoch) and _is_number(seq):
            if max(int(epoch), int(seq)) <= LARGEST:
                return name, int(epoch), int(seq)
    raise RefusedError(400)


def _accept(found: Writable, producer: tuple[str, int, int]) -> bool:
    """Whether it is new; a duplicate is not."""
    name, epoch, seq = producer
    if name not in found.producers:
        if seq != 0:
            raise RefusedError(409, producer_expected_seq="0", producer_received_seq=str(seq))
        return True
    known_epoch, known_seq = found.producers[name]
    if epoch < known_epoch:
        raise RefusedError(403, producer_epoch=str(known_epoch))
    if epoch > known_epoch:
        if seq != 0:
            raise RefusedError(400)
        return True
    if seq > known_seq + 1:
        raise RefusedError(409, producer_expected_seq=str(known_seq + 1), producer_received_seq=str(seq))
    return seq == known_seq + 1


def _told(producer: tuple[str, int, int] | None) -> dict[str, str]:
    if producer is None:
        return {}
    return {"producer_epoch": str(producer[1]), "producer_seq": str(producer[2])}
