"""Invalid requests to a running Space: values, sessions, files, pieces of live recordings, forms and URLs."""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import io
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
import soundfile

from hf_speech.demo import spaces_dir, start_space

SPACES = {"transcribe": "streaming", "classify": "classifier"}
STATUSES = frozenset({200, 400, 404, 405, 413, 422, 503})
# Of the Space's own processor time for one request, in seconds; of the clock, on a machine that does other things.
CPU_SECONDS, WALL_SECONDS = 2.0, 60.0
MAX_GROWTH = 150 << 20
NUMBERS = (0, -1, 1, 7, 0.5, 16_000, 800_000, 10**15, 10**30, 1e308, float("nan"), float("inf"), True)
VALUES = (
    *(*NUMBERS, None, "", "text", "srt", "<b>", "\x1b[2J", "\u202e", "a" * 5000, [], {}, [[]], [None], {"a": 1}),
    *({"path": "/etc/passwd"}, {"path": "."}, {"path": "http://127.0.0.1:1/x"}, {"path": None}, {"path": []}),
    *({"__type__": "update", "value": 1}, {"meta": {"_type": "gradio.FileData"}}, [{"path": "/"}] * 30),
)
PATHS = (
    *("/", "/config", "/monitoring", "/gradio_api/info", "/gradio_api/file=/etc/passwd", "/gradio_api/run/show"),
    *("/gradio_api/queue/data", "/gradio_api/component_server", "/gradio_api/proxy=http://127.0.0.1", "/x" * 3000),
    *("/gradio_api/heartbeat/" + "x" * 500, "/gradio_api/call/describe", "/gradio_api/upload_progress", "//", "/%00"),
)


class Refused(Exception):
    """Raised for a rejection with one sentence."""


class Requests:
    """Cases with invalid requests.

    Args:
        folder: The folder with the models of `make_models`, also used for uploads.
        **environment: Further environment variables of the Spaces.
    """

    declared = Refused

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.running, self.functions, self.memory = {}, {}, {}
        for space, model in SPACES.items():
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRADIO_", "MODEL_"))}
            variables = {
                **kept,
                "MODEL_ID": str(folder / model),
                "GRADIO_TEMP_DIR": str(folder / f"uploads-{space}"),
                **{"MAX_MEGABYTES": "1", "MAX_SECONDS": "5", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
                **environment,
            }
            started = start_space(spaces_dir() / space / "app.py", folder / f"{space}.log", environment=variables)
            atexit.register(started.stop)
            self.running[space] = started
        for space, started in self.running.items():
            started.wait()
            self.functions[space] = json.loads(self.ask(space, "GET", "/config")[1])["dependencies"]
        for number in range(100):  # until what is kept of sessions has reached its limit
            self._call_right(Random(number))
        self.memory = {space: self.resident(space) for space in SPACES}

    def stop(self) -> None:
        """Stops the Spaces."""
        for started in self.running.values():
            started.stop()

    def _host(self, space: str) -> str:
        return self.running[space].url.removeprefix("http://")

    def resident(self, space: str) -> int:
        """Returns the memory use of a Space in bytes."""
        return int(psutil.Process(self.running[space].process.pid).memory_info().rss)

    def run(self, rng: Random) -> None:
        """Sends a request and checks the answer.

        Raises:
            Refused: If it is rejected correctly.
            AssertionError: If the answer is wrong, takes too long, or memory has grown.
        """
        space = rng.choice(list(SPACES))
        process = psutil.Process(self.running[space].process.pid)
        before = sum(process.cpu_times()[:2])
        try:
            self.send(space, rng)
        finally:
            spent = sum(process.cpu_times()[:2]) - before
            assert spent < CPU_SECONDS, f"{spent:.1f} s of the processor"
            grown = self.resident(space) - self.memory.get(space, 1 << 60)
            assert grown < MAX_GROWTH, f"memory has grown by {grown >> 20} MiB"

    def send(self, space: str, rng: Random) -> None:
        """Sends a request and checks the answer, without measuring.

        Raises:
            Refused: If it is rejected correctly.
            AssertionError: If the answer is wrong.
        """
        kinds = (self._call, self._call, self._call, self._visit, self._listen, self._form, self._broken_off)
        rng.choice((*kinds, self._leave, self._path))(space, rng)

    def ask(
        self, space: str, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, bytes]:
        """Returns the status and the content of an answer."""
        connection = http.client.HTTPConnection(self._host(space), timeout=WALL_SECONDS)
        try:
            connection.putrequest(method, re.sub(r"[^!-~]", "", path) or "/", skip_accept_encoding=True)
            connection.putheader("Content-Type", kind)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            content = b"" if answer.headers.get_content_type() == "text/event-stream" else answer.read()
        finally:
            connection.close()
        assert answer.status in STATUSES, f"{method} {path[:80]}: status {answer.status}: {content[:300]!r}"
        assert b"Traceback" not in content
        return answer.status, content

    def call(self, space: str, body: Any) -> Any:
        """Calls a function through the queue, and returns the data of its answer.

        Raises:
            Refused: If the call or its values are rejected.
        """
        status, content = self.ask(space, "POST", "/gradio_api/queue/join", json.dumps(body).encode())
        if status != 200:
            raise Refused(f"Status {status}.")
        assert "event_id" in json.loads(content)
        event = self._last_event(space, body["session_hash"])
        if event.get("success"):
            return event["output"]["data"]
        sentence = event.get("output", {}).get("error")
        assert isinstance(sentence, str), f"no sentence in {event}"
        assert "\n" not in sentence, sentence
        raise Refused(sentence)

    def _last_event(self, space: str, session: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host(space), timeout=WALL_SECONDS)
        try:
            connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
            for line in connection.getresponse():
                event = json.loads(line[5:]) if line.startswith(b"data:") else {}
                if event.get("msg") in ("process_completed", "unexpected_error"):
                    return dict(event)
        finally:
            connection.close()
        raise AssertionError("the answer has no end")

    def _call(self, space: str, rng: Random) -> None:
        function = rng.choice(self.functions[space])
        data: Any = [rng.choice(VALUES) for _ in range(max(0, len(function["inputs"]) + rng.choice((0, 0, 0, -1, 1))))]
        body = {"data": data, "fn_index": function["id"], "session_hash": f"s{rng.randrange(1 << 40)}"}
        if rng.random() < 0.2:
            body[rng.choice(("data", "fn_index", "session_hash", "event_data", "trigger_id"))] = rng.choice(VALUES)
        if not isinstance(body["session_hash"], str) or body["session_hash"] in ("", "<b>"):
            status, _ = self.ask(space, "POST", "/gradio_api/queue/join", json.dumps(body).encode())
            assert status != 200
            raise Refused(f"Status {status}.")
        if rng.random() < 0.1:
            self._call_right(rng)
        self.call(space, body)

    def _call_right(self, rng: Random) -> None:
        """Calls as another visitor, which must still succeed."""
        for space in SPACES:
            number = next(item["id"] for item in self.functions[space] if item["api_name"] == "describe")
            data = self.call(space, {"data": [], "fn_index": number, "session_hash": f"r{rng.randrange(1 << 40)}"})
            assert data[0]["max_seconds"] == 5

    def _listen(self, space: str, rng: Random) -> None:
        space = "transcribe"
        number = next(item["id"] for item in self.functions[space] if item["api_name"] == "listen")
        samples = base64.b64encode(rng.randbytes(2 * rng.choice((0, 1, 800, 8000)))).decode()
        piece: Any = {"piece": 0, "rate": rng.choice((8000, 16_000, 44_100)), "samples": samples, "last": True}
        if rng.random() < 0.8:
            piece[rng.choice(list(piece))] = rng.choice(VALUES)
        if rng.random() < 0.1:
            piece = rng.choice(VALUES)
        session = f"l{rng.randrange(1 << 40)}"
        data = self.call(space, {"data": [None], "fn_index": number, "session_hash": session, "event_data": piece})
        if "error" in data[0]:
            raise Refused(data[0]["error"])
        assert isinstance(data[0]["text"], str)

    def _form(self, space: str, rng: Random) -> None:
        names = [
            rng.choice(("a.wav", "../x", "\\", '"', "é" * 90, "", "a" * 3000, "x\r\ny"))
            for _ in range(rng.randrange(60))
        ]
        content = rng.randbytes(rng.choice((0, 10, 5000, 50_000)))
        kind = rng.choice(("multipart/form-data; boundary=e",) * 4 + ("multipart/form-data", "text/plain", ""))
        path = rng.choice(self._upload(space, names, content, kind))
        self._show(space, path, f"f{rng.randrange(1 << 40)}")

    def _visit(self, space: str, rng: Random) -> None:
        """Opens the page, uploads a sound, and reads the answer."""
        session = f"v{rng.randrange(1 << 40)}"
        self.ask(space, "GET", "/")
        content = io.BytesIO()
        samples = np.random.default_rng(rng.randrange(1 << 32)).normal(0, 0.1, rng.randrange(4000, 16_000))
        soundfile.write(content, samples, 8000, format="WAV")
        (path,) = self._upload(space, ["a.wav"], content.getvalue())
        assert self._show(space, path, session)

    def _leave(self, space: str, rng: Random) -> None:
        """Closes the page or the connection before the answer."""
        session = f"g{rng.randrange(1 << 40)}"
        number = next(item["id"] for item in self.functions[space] if item["api_name"] == "describe")
        with self._heartbeat(space, session):
            body = {"data": [], "fn_index": number, "session_hash": session}
            for _ in range(rng.randrange(3)):
                self.ask(space, "POST", "/gradio_api/queue/join", json.dumps(body).encode())
        raise Refused("The page was closed.")

    @contextlib.contextmanager
    def _heartbeat(self, space: str, session: str) -> Iterator[None]:
        """Opens the connection that marks a page as open."""
        connection = http.client.HTTPConnection(self._host(space), timeout=WALL_SECONDS)
        try:
            connection.request("GET", f"/gradio_api/heartbeat/{session}")
            yield
        finally:
            connection.close()

    def _upload(
        self, space: str, names: list[str], content: bytes, kind: str = "multipart/form-data; boundary=e"
    ) -> list[str]:
        """Returns the paths of uploaded files."""
        head = '--e\r\nContent-Disposition: form-data; name="files"; filename="{}"\r\n\r\n'
        parts = [head.format(name).encode() + content + b"\r\n" for name in names]
        status, answer = self.ask(space, "POST", "/gradio_api/upload", b"".join(parts) + b"--e--\r\n", kind)
        if status != 200:
            raise Refused(f"Status {status}.")
        return list(json.loads(answer))

    def _show(self, space: str, path: str, session: str) -> Any:
        """Returns the page's data for an upload."""
        function = next(item for item in self.functions[space] if item["api_name"] == "show")
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        data = self.call(space, {"data": [file, False], "fn_index": function["id"], "session_hash": session})
        if data[0] and "error" in data[0]:
            raise Refused(data[0]["error"])
        return data[0]

    def _broken_off(self, space: str, rng: Random) -> None:
        host, port = self._host(space).split(":")
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=e\r\n"
        part = '--e\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        request = f"{head}Content-Length: 900000\r\n\r\n{part}".encode() + rng.randbytes(rng.randrange(20_000))
        with socket.create_connection((host, int(port)), timeout=WALL_SECONDS) as connection:
            connection.sendall(request[: rng.randrange(1, len(request))])
            time.sleep(0.01)
        raise Refused("The connection was closed.")

    def _path(self, space: str, rng: Random) -> None:
        method = rng.choice(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "X"))
        status, _ = self.ask(space, method, rng.choice(PATHS), rng.choice((None, b"", b"{}", b"[" * 9000, b"\xff")))
        if status != 200:
            raise Refused(f"Status {status}.")
