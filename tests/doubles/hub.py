"""A stand-in for Hugging Face: it redirects as the real one does, serves ranges, and cuts when it is told to.

What it sends is held against the documentation of `huggingface_hub.get_hf_file_metadata`: the redirect names the size
and the hash of the file in `X-Linked-Size` and `X-Linked-ETag`, the place it leads to knows nothing of them.
"""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub:
    """Serves `content` at every repository's `file`. `cuts` are the lengths after which answers break off, in turn."""

    def __init__(self, file: str, content: bytes) -> None:
        self.file = file
        self.content = content
        self.etag = hashlib.sha256(content).hexdigest()
        self.cuts: list[int] = []
        self.status = 200
        self.ranges = True
        self.asked: list[tuple[str, str, str | None, str | None]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    @property
    def starts(self) -> list[int]:
        """Where each request for the bytes began."""
        return [int((asked[2] or "bytes=0-")[6:-1]) for asked in self.asked if asked[0] == "GET"]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(hub):  # noqa: N805 - the handler has a `self` of its own
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub._note(self)
                if hub.status != 200 or not self.path.endswith(f"/resolve/main/{hub.file}"):
                    self.send_error(hub.status if hub.status != 200 else 404)
                    return
                if self.path.startswith("/old/"):
                    self.send_response(307)
                    self.send_header("Location", self.path.replace("/old/", "/new/"))
                elif self.path.startswith("/round/"):
                    self.send_response(302)
                    self.send_header("Location", self.path)
                else:
                    self.send_response(302)
                    self.send_header("X-Linked-Size", str(len(hub.content)))
                    self.send_header("X-Linked-ETag", f'"{hub.etag}"')
                    self.send_header("Location", f"{hub.url}/bytes")
                self.end_headers()

            def do_GET(self) -> None:
                hub._note(self)
                start = int((self.headers["Range"] or "bytes=0-")[6:-1]) if hub.ranges else 0
                body = hub.content[start:]
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: hub.cuts.pop(0)] if hub.cuts else body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def _note(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(
            (request.command, request.path, request.headers["Range"], request.headers["Authorization"])
        )
