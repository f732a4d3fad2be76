"""Fixtures: a sound, and a faulty download server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`; attributes of the server configure its faults, and `requests` records all requests."""

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range")
        server.requests.append(asked)
        content = server.content
        if server.busy:
            server.busy -= 1
            return self.answer(503)
        if self.path == "/gone":
            return self.answer(404)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.knows_ranges else 0
        if start and start >= len(content):
            return self.answer(416, {"Content-Range": f"bytes */{len(content)}"})
        headers = {"Content-Length": str(len(content) - start)} if server.says_length else {}
        if start:
            headers["Content-Range"] = f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        if server.breaks:
            server.breaks -= 1
            body = body[: len(body) // 3]
        self.answer(206 if start else 200, headers, body)

    def answer(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """A local server; tests set its content and its faults."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.content, server.requests = b"", []
    server.knows_ranges = server.says_length = True
    server.breaks = server.busy = server.shift = 0
    server.url = f"http://127.0.0.1:{server.server_port}/corpus.tar.gz"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def sine(make_tone) -> np.ndarray:
    return make_tone(0.5, 440.0, 16_000)


@pytest.fixture
def wav(tmp_path: Path, sine: np.ndarray) -> Path:
    soundfile.write(tmp_path / "sine.wav", sine, 16_000)
    return tmp_path / "sine.wav"
