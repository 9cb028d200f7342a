"""The file in a form: `multipart/form-data`, as browsers and `curl -F` upload one (RFC 7578). Bytes in, bytes out."""

from collections.abc import AsyncIterable, AsyncIterator
from email.message import Message

from legato.errors import InvalidError

HEADERS = 8 * 1024
"""Bytes that the headers of a part may have."""


class FormFile:
    """Finds the first file of a form, in whatever pieces the form comes. What stands around it is passed over.

    `name` is what the sender calls the file, known with its first byte. `done` says whether all of it was seen.
    """

    __slots__ = ("_buffer", "_delimiter", "_inside", "done", "name")

    def __init__(self, content_type: str) -> None:
        """:raises InvalidError: it names no boundary."""
        boundary = _headers(f"Content-Type: {content_type}").get_boundary("")
        if not 1 <= len(boundary) <= 70 or not boundary.isascii():
            raise InvalidError("This form does not say what its parts are divided by.")
        self._delimiter = b"\r\n--" + boundary.encode()
        self._buffer = b"\r\n"
        self._inside = False
        self.done = False
        self.name: str | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes of the file that `data` brings; none before its first and behind its last.

        :raises InvalidError: this is no form, or there is no file in it.
        """
        if self.done:
            return b""
        self._buffer += data
        while not self._inside:
            if not self._next_part():
                return b""
        return self._content()

    def _next_part(self) -> bool:
        """Go to the content of the next part; False where more bytes are needed for that."""
        before, found, rest = self._buffer.partition(self._delimiter)
        if not found:
            self._buffer = before[-len(self._delimiter) :]
            return False
        if rest.startswith(b"--"):
            raise InvalidError("There is no file in this form.")
        headers, ended, content = rest.partition(b"\r\n\r\n")
        if len(headers) > HEADERS:
            raise InvalidError("This form cannot be read: the headers of a part are too long.")
        if not ended:
            self._buffer = found + rest
            return False
        told = _headers(headers.decode(errors="replace").strip())
        self._inside = told.get_filename() is not None
        self.name = told.get_filename() or None
        self._buffer = b"\r\n" + content if not self._inside else content
        return True

    def _content(self) -> bytes:
        content, found, _ = self._buffer.partition(self._delimiter)
        if found:
            self.done, self._buffer = True, b""
            return content
        # What may be the beginning of the delimiter waits for the rest of it.
        kept = min(len(self._delimiter) - 1, len(content))
        self._buffer = content[len(content) - kept :]
        return content[: len(content) - kept]


async def file_in(content_type: str, body: AsyncIterable[bytes]) -> tuple[str | None, AsyncIterator[bytes]]:
    """What the first file of a form is called, and its bytes as they come with `body`; all of that is read.

    :raises InvalidError: there is none; also while it is read: not all of it came.
    """
    form = FormFile(content_type)
    pieces = _pieces(form, body)
    first = await anext(pieces, b"")
    return form.name, _chain(first, pieces)


async def _pieces(form: FormFile, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    async for data in body:
        if found := form.feed(data):
            yield found
    if not form.done:
        raise InvalidError("This form ends in the middle. Send it again.")


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for data in rest:
        yield data


def _headers(text: str) -> Message:
    headers = Message()
    for line in text.split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    return headers
