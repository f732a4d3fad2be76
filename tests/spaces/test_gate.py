"""The gate: which requests reach gradio, and uploads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")


@pytest.fixture
def module(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("classify", "gate")


@pytest.fixture
def gate(module: ModuleType, space_module: Callable[[str, str], Any], tmp_path: Path) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b""
        if scope["method"] == "POST":
            body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"passed on " + body})

    uploads = space_module("classify", "uploads").Uploads(60, 1e6, tmp_path)
    return module.Gate(app, uploads, 0.1, functions={3, 4}, names={"classify"})


def ask(
    gate: Any, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, query: str = ""
) -> tuple[int, bytes]:
    """Sends a request in pieces, and returns the status and the body of the answer."""
    pieces = [body[first : first + 1000] for first in range(0, len(body), 1000)] or [b""]
    messages = [
        {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}
        for index, piece in enumerate(pieces)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
    }
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
        % (field.encode(), name.encode(), content)
        for field, name, content in parts
    )
    return body + b"--edge--\r\n", {"content-type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/assets/index-A1_b.js"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/heartbeat/abc-1"),
        ("GET", "/gradio_api/call/classify/abc1"),
    ],
)
def test_allows_routes_that_clients_use(gate: Any, method: str, path: str) -> None:
    assert ask(gate, method, path) == (200, b"passed on ")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/monitoring"),
        ("GET", "/monitoring/summary"),
        ("GET", "/gradio_api/proxy=https://example.org"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/gradio_api/stream/x/1/2/playlist.m3u8"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/deep_link"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/run/classify"),
        ("POST", "/gradio_api/api/classify"),
        ("POST", "/gradio_api/call/v2/classify"),
        ("POST", "/gradio_api/call/show"),
        ("POST", "/gradio_api/mcp"),
        ("GET", "/gradio_api/heartbeat/" + "x" * 100),
        ("DELETE", "/config"),
        ("PUT", "/gradio_api/upload"),
    ],
)
def test_blocks_all_other_routes(gate: Any, method: str, path: str) -> None:
    status, body = ask(gate, method, path, b"{}")
    assert status == 404
    assert b"passed on" not in body


def call(**content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    "body",
    [
        call(data=[], fn_index=3, session_hash="abc-1"),
        call(data=[None], fn_index=4, session_hash="x", event_data={"piece": 0}),
        call(data=[]),
    ],
)
def test_forwards_calls_unchanged(gate: Any, body: bytes) -> None:
    assert ask(gate, "POST", "/gradio_api/queue/join", body) == (200, b"passed on " + body)
    assert ask(gate, "POST", "/gradio_api/call/classify", body)[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"not json", 422),
        (b"[]", 422),
        (b"null", 422),
        (b"[" * 100_000, 422),
        (b"\xff\xfe", 422),
        (call(data={}), 422),
        (call(data=[], fn_index=5), 422),  # the handler of a closed page
        (call(data=[], fn_index=-1), 422),
        (call(data=[], fn_index=10**30), 422),
        (call(data=[], fn_index=3.0), 422),
        (call(data=[], fn_index=True), 422),
        (call(data=[], fn_index="3"), 422),
        (call(data=[], session_hash="a/b"), 422),
        (call(data=[], session_hash="x" * 65), 422),
        (call(data=[], session_hash=7), 422),
        *((call(data=[], trigger_id=value), 422) for value in (float("nan"), float("inf"), 1e308, [], {}, 1 << 63)),
        (call(data=[], event_id=float("nan")), 422),
        (call(data=["x" * 3_000_000]), 413),
    ],
)
def test_rejects_malformed_calls(gate: Any, body: bytes, status: int) -> None:
    found, answer = ask(gate, "POST", "/gradio_api/queue/join", body)
    assert found == status
    assert b"passed on" not in answer
    assert b"Traceback" not in answer


def test_allows_the_mcp_server_if_enabled(gate: Any) -> None:
    gate.mcp = True
    request = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "transcribe", "arguments": {}}}
    assert ask(gate, "POST", "/gradio_api/mcp/", json.dumps(request).encode())[0] == 200
    assert ask(gate, "POST", "/gradio_api/mcp/", b" " * (2**21 + 1))[0] == 413
    assert ask(gate, "GET", "/gradio_api/mcp")[0] == 200


def test_stores_uploads_and_serves_them(gate: Any) -> None:
    body, headers = form(("files", "a.wav", b"one"), ("files", "../b.flac", b"two"))
    status, answer = ask(gate, "POST", "/gradio_api/upload", body, headers)
    assert status == 200
    paths = json.loads(answer)
    assert [Path(path).read_bytes() for path in paths] == [b"one", b"two"]
    assert [gate.uploads.find(path).name for path in paths] == ["a.wav", "b.flac"]
    assert ask(gate, "GET", f"/gradio_api/file={paths[0]}")[0] == 200
    assert ask(gate, "GET", f"/gradio_api/file={Path(paths[0]).parent}")[0] == 404
    assert ask(gate, "GET", f"/gradio_api/file={paths[0]}/../sound.wav")[0] == 404


def stored(gate: Any) -> list[Path]:
    return list(gate.uploads.root.iterdir())


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([("files", "a.wav", bytes(200_000))], 413),
        ([("files", f"{index}.wav", bytes(30_000)) for index in range(8)], 413),
        ([("files", f"{index}.wav", b"x") for index in range(51)], 400),
        ([("other", "a.wav", b"x")], 400),
        ([], 400),
    ],
)
def test_limits_uploads(gate: Any, parts: list[tuple[str, str, bytes]], status: int) -> None:
    body, headers = form(*parts)
    assert ask(gate, "POST", "/gradio_api/upload", body, headers)[0] == status
    assert ask(gate, "POST", "/gradio_api/upload", body, headers | {"content-length": str(len(body))})[0] == status
    assert stored(gate) == []


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (b"x", {"content-type": "text/plain"}),
        (b"x" * 50, {"content-type": "multipart/form-data"}),
        (b"x" * 50, {"content-type": "multipart/form-data; boundary=edge"}),
        (b"", {"content-type": "multipart/form-data; boundary=edge", "content-length": "9" * 4000}),
        (b"--edge\r\nContent-Disposition: nothing\r\n\r\nx", {"content-type": "multipart/form-data; boundary=edge"}),
        (b"--edge\r\n" + b"X: y\r\n" * 9000, {"content-type": "multipart/form-data; boundary=edge"}),
    ],
)
def test_rejects_invalid_uploads(gate: Any, body: bytes, headers: dict[str, str]) -> None:
    status, answer = ask(gate, "POST", "/gradio_api/upload", body, headers)
    assert status in (400, 413)
    assert b"Traceback" not in answer
    assert stored(gate) == []


def test_interrupted_uploads_leave_no_files(gate: Any) -> None:
    whole, headers = form(("files", "a.wav", bytes(50_000)))
    for length in (0, 10, 60, 100, 30_000, len(whole) - 12):
        messages = [{"type": "http.request", "body": whole[:length], "more_body": True}, {"type": "http.disconnect"}]

        async def receive(messages: Any = messages) -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/gradio_api/upload",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        asyncio.run(gate(scope, receive, send))
        assert stored(gate) == []
    assert gate._uploading == 0
    gate._uploading = 100
    assert ask(gate, "POST", "/gradio_api/upload", whole, headers)[0] == 503


def test_tracks_open_sessions(gate: Any) -> None:
    async def visit() -> None:
        release = asyncio.Event()

        async def waiting(scope: Any, receive: Any, send: Any) -> None:
            await release.wait()

        gate.app = waiting
        scopes = [
            {"type": "http", "method": "GET", "path": "/gradio_api/heartbeat/abc", "query_string": b""},
            {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "query_string": b"session_hash=abc"},
        ]
        tasks = [asyncio.create_task(gate(scope, None, None)) for scope in scopes]
        await asyncio.sleep(0.01)
        assert gate.open_sessions == {"abc": 2}
        release.set()
        await asyncio.gather(*tasks)
        assert not gate.open_sessions
        assert set(gate.last_seen) == {"abc"}

    asyncio.run(visit())
