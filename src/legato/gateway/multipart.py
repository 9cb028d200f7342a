"""The file of a form: `multipart/form-data`, as browsers and `curl -F` upload it (RFC 7578). It does no I/O."""

from collections.abc import AsyncIterable, AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from legato.errors import InvalidError


class FormFile:
    """Finds the first file of a form that arrives in pieces of any size. Other parts of the form are ignored.

    `name` and `content_type` of the file are what the sender gave, known with the first byte. `done` says whether the whole file was read.
    """

    def __init__(self, content_type: str) -> None:
        """Read the boundary.

        :raises InvalidError: `content_type` names no boundary.
        """
        _, options = parse_options_header(content_type.encode("latin-1", "replace"))
        boundary = options.get(b"boundary", b"")
        if not 1 <= len(boundary) <= 70 or not boundary.isascii():
            raise InvalidError("This form does not say what its parts are divided by.")
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_part_data": self._on_data,
                "on_part_end": self._on_part,
                "on_end": self._on_end,
            },
        )
        self._field = self._value = b""
        self._in_file = False
        self._found: list[bytes] = []
        self.done = False
        self.name: str | None = None
        self.content_type = ""
        self._part_type = ""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the file that `data` contains; none before its start and after its end.

        :raises InvalidError: the data is not a form, or the form contains no file.
        """
        if self.done:
            return b""
        try:
            self._parser.write(data)
        except FormParserError as error:
            if not self.done:
                raise InvalidError(f"This form cannot be read: {str(error).rstrip('.')}.") from None
        found, self._found = b"".join(self._found), []
        return found

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        if self._field.lower() == b"content-type":
            self._part_type = self._value.decode("latin-1")
        if self._field.lower() == b"content-disposition" and not self.done:
            _, options = parse_options_header(self._value)
            if (name := options.get(b"filename")) is not None:
                self._in_file = True
                self.name = name.decode(errors="replace") or None
        self._field = self._value = b""

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.content_type = self._part_type
            self._found.append(data[start:end])

    def _on_part(self) -> None:
        self._part_type = ""
        self.done, self._in_file = self.done or self._in_file, False

    def _on_end(self) -> None:
        if not self.done:
            raise InvalidError("There is no file in this form.")


async def first_file(
    content_type: str, body: AsyncIterable[bytes]
) -> tuple[str | None, str, AsyncIterator[bytes]]:
    """Return the name and the declared type of the first file of a form, and its bytes as they arrive. The whole `body` is read.

    :raises InvalidError: there is no file; also while the bytes are read: the form is incomplete.
    """
    form = FormFile(content_type)
    pieces = _pieces(form, body)
    first = await anext(pieces, b"")
    return form.name, form.content_type, _chain(first, pieces)


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
