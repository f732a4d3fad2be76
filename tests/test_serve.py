"""The HTTP service: OpenAI's client, live streams with both back ends, and errors."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
import soundfile
import soxr

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install '.[serve]'")
import uvicorn
from starlette.testclient import TestClient, WebSocketTestSession

from hf_speech import serve
from hf_speech.decoding import Hypothesis
from hf_speech.errors import HFSpeechError
from hf_speech.export.exporting import export_model
from hf_speech.inference import (
    StreamBatch,
    choose_decoder,
    find_language_model,
    load_model,
    open_model,
    transcribe_files,
)
from hf_speech.serve import Service, create_app, run_server

REPOSITORY = Path(__file__).resolve().parents[1]
AN4, STREAMING = REPOSITORY / "pretrained" / "an4", REPOSITORY / "pretrained" / "an4-streaming"
CLIP = REPOSITORY / "spaces" / "transcribe" / "examples" / "pittsburgh spelled.flac"


@pytest.fixture(scope="module")
def service() -> Service:
    return Service(str(STREAMING))


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(create_app(service)) as client:
        yield client


def post(client: TestClient, content: bytes, **fields: str) -> Any:
    return client.post("/v1/audio/transcriptions", files={"file": ("a.flac", content)}, data=fields)


def test_formats_equal_those_of_the_command_line(client: TestClient) -> None:
    recognizer = open_model(STREAMING, device="cpu")
    decoder = choose_decoder(recognizer, find_language_model(recognizer))
    (expected,) = transcribe_files(recognizer, [CLIP], decoder=decoder, progress=False)
    assert expected.hypothesis.text
    content = CLIP.read_bytes()
    assert post(client, content).json() == {"text": expected.hypothesis.text}
    for name in ("text", "srt", "vtt"):
        assert post(client, content, response_format=name).text == expected.format(name)
    answer = post(client, content, response_format="verbose_json").json()
    words = [(word.text, word.start, word.end) for word in expected.hypothesis.words]
    assert [(word["word"], word["start"], word["end"]) for word in answer["words"]] == words
    assert answer["duration"] == pytest.approx(expected.duration)
    assert " ".join(segment["text"] for segment in answer["segments"]) == answer["text"]


def test_supports_the_openai_client(service: Service) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed")
    with TestClient(create_app(service)) as http:
        client = openai.OpenAI(base_url="http://testserver/v1", api_key="none", http_client=http, max_retries=0)
        with CLIP.open("rb") as file:
            answer = client.audio.transcriptions.create(model="any", file=file)
        assert answer.text == post(http, CLIP.read_bytes()).json()["text"]
        with CLIP.open("rb") as file:
            timed = client.audio.transcriptions.create(model="any", file=file, response_format="verbose_json")
        assert [word.word for word in timed.words] == answer.text.split()
        assert client.models.list().data[0].id == service.name
        with pytest.raises(openai.BadRequestError, match="The file"):
            client.audio.transcriptions.create(model="any", file=("a.txt", b"no sound at all"))


def test_rejects_invalid_requests(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(response: Any, status: int, reason: str) -> None:
        assert response.status_code == status
        assert reason in response.json()["error"]["message"]

    refused(post(client, b"no sound at all"), 400, "The file")
    refused(post(client, b""), 400, "The file")
    refused(post(client, CLIP.read_bytes(), response_format="xml"), 400, "response_format")
    refused(client.post("/v1/audio/transcriptions", data={"model": "a"}), 400, "file")
    endless = client.post("/v1/audio/transcriptions", content=(b"x" for _ in range(3)))
    refused(endless, 411, "Content-Length")
    monkeypatch.setattr(serve, "MAX_MEGABYTES", 0)
    refused(post(client, CLIP.read_bytes()), 413, "larger than 0 MB")
    monkeypatch.undo()
    monkeypatch.setattr(serve, "MAX_HOURS", 0)
    refused(post(client, CLIP.read_bytes()), 400, "longer than 0 hours")
    monkeypatch.undo()
    monkeypatch.setattr(serve, "MAX_WAITING", 0)
    busy = post(client, CLIP.read_bytes())
    refused(busy, 503, "try again")
    assert busy.headers["retry-after"] == "5"


def test_live_audio_does_not_wait_for_files(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither with waiting files nor with a full queue."""
    monkeypatch.setattr(serve, "MAX_WAITING", 1)
    holds, released = threading.Event(), threading.Event()

    def transcribe(content: bytes) -> Any:
        holds.set()
        released.wait(60)
        return Hypothesis("", 0.0, (), ()), 1.0

    monkeypatch.setattr(service, "_transcribe", transcribe)
    with TestClient(create_app(service)) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client, b"sound")
        try:
            assert holds.wait(60)
            assert post(client, b"sound").status_code == 503
            with client.websocket_connect("/v1/stream") as socket:
                socket.send_bytes(bytes(3200))
                assert socket.receive_json() == {"text": "", "final": False}
        finally:
            released.set()
        assert first.result().status_code == 200


def test_answers_many_simultaneous_requests(client: TestClient) -> None:
    content = CLIP.read_bytes()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(client, content).json()["text"], range(8)))
    assert len(set(answers)) == 1
    metrics = dict(line.split() for line in client.get("/metrics").text.splitlines())
    assert int(metrics["hf_speech_transcripts_total"]) >= 8
    assert metrics["hf_speech_waiting"] == "0"
    assert client.get("/health").json() == {"status": "ok"}


def send(socket: WebSocketTestSession, samples: np.ndarray, sizes: list[int]) -> list[dict[str, Any]]:
    """Sends samples in pieces of the given sizes, and returns all answers."""
    pieces = np.split(samples, np.cumsum(sizes))
    for piece in pieces:
        socket.send_bytes(piece.tobytes())
    socket.send_text("end")
    answers = []
    while not answers or not answers[-1]["final"]:
        answers.append(socket.receive_json())
    return answers


@pytest.fixture(scope="module", params=["pytorch", "onnx"])
def live(request: pytest.FixtureRequest, service: Service, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    if request.param == "pytorch":
        return TestClient(create_app(service))
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    folder = tmp_path_factory.mktemp("exported")
    export_model(load_model(STREAMING, device="cpu"), folder / "model")
    return TestClient(create_app(Service(str(folder / "model"))))


def test_the_final_text_of_a_stream_equals_that_of_the_file(live: TestClient) -> None:
    samples, rate = soundfile.read(CLIP, dtype="int16")
    recognizer = open_model(STREAMING, device="cpu")
    (expected,) = transcribe_files(recognizer, [CLIP], progress=False)
    for sizes in ([1600] * 8, [7, 16_000, 1, 333]):
        with live.websocket_connect(f"/v1/stream?rate={rate}") as socket:
            answers = send(socket, samples, sizes)
        assert answers[-1] == {"text": expected.hypothesis.text, "final": True}
        texts = [answer["text"] for answer in answers]
        assert len(answers) == len(sizes) + 2
        assert all(longer.startswith(shorter) for shorter, longer in itertools.pairwise(texts))
    assert len(set(texts)) > 2
    # Other rates are resampled during streaming.
    high = soxr.resample(samples.astype(np.float32) / 2**15, rate, 44_100)
    with live.websocket_connect("/v1/stream?rate=44100&encoding=f32") as socket:
        assert send(socket, high.astype(np.float32), [4410] * 5)[-1]["text"] == expected.hypothesis.text


def test_processes_waiting_pieces_together(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected piece affects only its client."""
    samples, rate = soundfile.read(CLIP, dtype="float32")
    (expected,) = transcribe_files(open_model(STREAMING, device="cpu"), [CLIP], progress=False)
    sizes: list[int] = []
    answers: dict[int, str] = {}
    advance = StreamBatch.advance

    def record(batch: StreamBatch, streams: Any) -> list[np.ndarray]:
        sizes.append(len(streams))
        return advance(batch, streams)

    async def speak(client: int, piece: np.ndarray) -> None:
        try:
            answers[client] = await service.accept(service.listen(rate, "f32"), piece.tobytes(), True)
        except HFSpeechError as error:
            answers[client] = str(error)

    async def main() -> None:
        async with anyio.create_task_group() as clients, service._limiters["piece"]:
            for client, piece in enumerate([samples, np.full_like(samples, np.nan), samples]):
                clients.start_soon(speak, client, piece)
            await anyio.wait_all_tasks_blocked()

    monkeypatch.setattr(StreamBatch, "advance", record)
    anyio.run(main)
    assert sizes == [2]
    assert answers[0] == answers[2] == expected.hypothesis.text
    assert "NaN" in answers[1]
    assert service.waiting == 0


@pytest.mark.parametrize("query", ["rate=7", "rate=9999999", "encoding=mp3"])
def test_rejects_streams_of_an_unknown_kind(client: TestClient, query: str) -> None:
    with client.websocket_connect(f"/v1/stream?{query}") as socket:
        assert "Give a rate" in socket.receive_json()["error"]["message"]


@pytest.mark.parametrize("piece", [b"odd", bytes(2 << 20)])
def test_rejects_invalid_pieces(client: TestClient, piece: bytes) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(piece)
        assert "Send complete s16 samples" in socket.receive_json()["error"]["message"]


def test_ends_the_stream_of_a_disconnected_client(client: TestClient) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_bytes(bytes(3200))
    assert client.get("/health").status_code == 200


def test_a_non_causal_model_does_not_stream() -> None:
    client = TestClient(create_app(Service(str(AN4))))
    with client.websocket_connect("/v1/stream") as socket:
        assert "needs the whole recording" in socket.receive_json()["error"]["message"]
    assert json.loads(client.get("/openapi.json").text)["paths"].keys() >= {"/v1/audio/transcriptions", "/v1/models"}


def test_prints_the_address_once_it_is_ready(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unavailable address is rejected with a reason."""
    monkeypatch.setattr(serve, "Service", lambda model, revision: service)
    answers, really_run = [], uvicorn.Server.run

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        address = capsys.readouterr().out.split()[-1]
        thread = threading.Thread(target=really_run, args=(server, sockets))
        thread.start()
        try:
            with urllib.request.urlopen(address.removesuffix("v1") + "health", timeout=60) as answer:
                answers.append(answer.read())
            taken = sockets[0].getsockname()[1]
            with pytest.raises(
                HFSpeechError, match=rf"The address 127\.0\.0\.1:{taken} cannot be used \([\w ]+\): give another --port"
            ):
                run_server("model", revision=None, host="127.0.0.1", port=taken, processes=1)
        finally:
            server.should_exit = True
            thread.join(60)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    run_server("model", revision=None, host="127.0.0.1", port=0, processes=1)
    assert answers == [b'{"status":"ok"}']
