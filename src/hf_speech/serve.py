"""Serves a recognizer over HTTP: OpenAI's end point for transcription, and a websocket for live audio.

* `POST /v1/audio/transcriptions` is compatible with OpenAI's API, so that its clients only need another base URL.
* `WS /v1/stream` receives pieces of audio and sends the growing text, if the model is causal.
* `GET /v1/models`, `/health`, and `/metrics` for Prometheus.

A process transcribes one file at a time, since a second one would slow down the first. At the same time, it processes
the waiting pieces of all live streams in one batch. The queues are bounded: if they are full, clients are asked to try
again later. Several processes transcribe several files at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import numpy as np
import soxr
import uvicorn
from fastapi import FastAPI, Form, Request, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from hf_speech.common.console import echo
from hf_speech.data.audio import MAX_RATE, MIN_RATE, audio_info
from hf_speech.decoding import Hypothesis, make_cues, to_srt, to_vtt
from hf_speech.errors import HFSpeechError, ModelError
from hf_speech.inference import (
    Stream,
    StreamBatch,
    choose_decoder,
    find_language_model,
    open_model,
    transcribe_files,
)

MAX_WAITING = 100
"""The number of files, and of pieces of live audio, that may wait for a process."""
MAX_MEGABYTES = 25
"""The largest upload, the same as OpenAI's."""
MAX_HOURS = 3
# Sample formats of live streams.
_ENCODINGS: dict[str, np.dtype[Any]] = {"s16": np.dtype("<i2"), "f32": np.dtype("<f4")}
# About 10 s of 16-bit samples at 48 kHz.
_MAX_MESSAGE = 1 << 20
# Environment variables that tell the processes of a server what to serve.
_MODEL, _REVISION = "HF_SPEECH_SERVE_MODEL", "HF_SPEECH_SERVE_REVISION"


class BusyError(HFSpeechError):
    """A request for which the queue has no room."""


class LiveStream:
    """The audio stream of one client.

    Args:
        stream: The recognizer's stream.
        rate: The sampling rate of the pieces in Hz.
        encoding: The sample format of the pieces, "s16" or "f32".
    """

    def __init__(self, stream: Stream, rate: int, encoding: str) -> None:
        self.stream = stream
        self._dtype = _ENCODINGS[encoding]
        self._scale = np.float32(2**-15 if encoding == "s16" else 1)
        self._resampler = soxr.ResampleStream(rate, stream.sampling_rate, 1, dtype="float32")

    def feed(self, piece: bytes, final: bool) -> float:
        """Feeds a piece to the stream and returns its duration in seconds.

        Raises:
            AudioError: If the piece has samples that are not finite.
        """
        samples = np.frombuffer(piece, dtype=self._dtype).astype(np.float32) * self._scale
        samples = self._resampler.resample_chunk(samples, last=final)
        self.stream.feed(samples, final)
        return len(samples) / self.stream.sampling_rate


@dataclass
class _Piece:
    """A piece of a live stream in the queue."""

    live: LiveStream
    content: bytes
    final: bool
    processed: bool = False
    error: HFSpeechError | None = None


class Service:
    """A recognizer with its queues.

    Args:
        model: A model folder, a Hub id, or an exported folder.
        revision: Branch, tag or commit of a Hub model.

    Attributes:
        counts: Counters for the metrics: transcripts, rejected requests, streams, duration of audio and computation.

    Raises:
        ModelError: If the model does not exist or is not a recognizer.
    """

    def __init__(self, model: str, revision: str | None = None) -> None:
        self.name = model
        self.counts: Counter[str] = Counter()
        self._recognizer = open_model(model, verb="transcribe", device="cpu", revision=revision)
        self._decoder = choose_decoder(self._recognizer, find_language_model(self._recognizer))
        self._limiters = {"file": anyio.CapacityLimiter(1), "piece": anyio.CapacityLimiter(1)}
        self._waiting: Counter[str] = Counter()
        self._pieces: list[_Piece] = []

    @property
    def waiting(self) -> int:
        """The number of requests that are waiting or being processed."""
        return self._waiting.total()

    @contextlib.contextmanager
    def _enqueue(self, queue: Literal["file", "piece"]) -> Iterator[None]:
        """Counts a request in a queue during the context.

        Raises:
            BusyError: If the queue is full.
        """
        if self._waiting[queue] >= MAX_WAITING:
            self.counts["refused"] += 1
            raise BusyError("The server is busy: try again in a few seconds.")
        self._waiting[queue] += 1
        try:
            yield
        finally:
            self._waiting[queue] -= 1

    async def transcribe(self, content: bytes) -> tuple[Hypothesis, float]:
        """Transcribes an audio file in a thread, one at a time; also returns its duration in seconds.

        Raises:
            BusyError: If the queue is full.
            HFSpeechError: If the file cannot be read or is too long.
        """
        with self._enqueue("file"):
            return await anyio.to_thread.run_sync(self._transcribe, content, limiter=self._limiters["file"])

    async def accept(self, live: LiveStream, content: bytes, final: bool) -> str:
        """Processes a piece of a live stream, together with all other waiting pieces, and returns the text so far.

        Args:
            live: The stream.
            content: The samples of the piece in the stream's encoding.
            final: Whether it is the last piece.

        Raises:
            AudioError: If the piece has samples that are not finite.
            BusyError: If the queue is full.
        """
        with self._enqueue("piece"):
            piece = _Piece(live, content, final)
            self._pieces.append(piece)
            async with self._limiters["piece"]:
                if not piece.processed:
                    pieces, self._pieces = self._pieces, []
                    await anyio.to_thread.run_sync(self._process, pieces)
        if piece.error is not None:
            raise piece.error
        return live.stream.text

    def _process(self, pieces: list[_Piece]) -> None:
        """Processes pieces of different streams in one batch."""
        fed = []
        for piece in pieces:
            piece.processed = True
            try:
                seconds = piece.live.feed(piece.content, piece.final)
            except HFSpeechError as error:
                piece.error = error
                continue
            self.counts["milliseconds_of_sound"] += round(1000 * seconds)
            fed.append(piece.live.stream)
        self._streams.advance(fed)

    @functools.cached_property
    def _streams(self) -> StreamBatch:
        return StreamBatch(self._recognizer)

    def _transcribe(self, content: bytes) -> tuple[Hypothesis, float]:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:  # Long files are read from disk in blocks.
            path = Path(folder, "The file")
            path.write_bytes(content)
            try:
                if audio_info(path).duration > MAX_HOURS * 3600:
                    raise HFSpeechError(f"The file is longer than {MAX_HOURS} hours: send it in parts.")
                (transcript,) = transcribe_files(self._recognizer, [path], decoder=self._decoder, progress=False)
                if transcript.error is not None:
                    raise HFSpeechError(transcript.error)
            except HFSpeechError as error:
                raise HFSpeechError(str(error).replace(str(path), path.name)) from None
        self.counts.update(transcripts=1, milliseconds_of_sound=round(1000 * transcript.duration))
        self.counts["milliseconds_of_computing"] += round(1000 * (time.perf_counter() - started))
        return transcript.hypothesis, transcript.duration

    def listen(self, rate: int, encoding: str) -> LiveStream:
        """Opens a live stream; see `LiveStream`.

        Raises:
            HFSpeechError: If the model needs whole recordings, or the rate or the encoding is not supported.
        """
        if not MIN_RATE <= rate <= MAX_RATE or encoding not in _ENCODINGS:
            raise HFSpeechError(f"Give a rate from {MIN_RATE} to {MAX_RATE} Hz and the encoding s16 or f32.")
        try:
            stream = self._streams.stream()
        except ModelError as error:
            raise HFSpeechError("This model needs the whole recording: send files, or serve a causal model.") from error
        self.counts["streams"] += 1
        return LiveStream(stream, rate, encoding)


def create_app(service: Service) -> FastAPI:
    """Creates the web application of a service."""
    app = FastAPI(title=f"hf_speech: {service.name}")

    @app.exception_handler(HFSpeechError)
    async def handle_error(_: Request, error: HFSpeechError) -> JSONResponse:
        busy = isinstance(error, BusyError)
        return _error(str(error), 503 if busy else 400, {"Retry-After": "5"} if busy else None)

    @app.exception_handler(RequestValidationError)
    async def handle_invalid_form(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _error(f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}", 400)

    @app.middleware("http")
    async def reject_large(request: Request, call_next: Callable[[Request], Any]) -> Response:
        length = request.headers.get("content-length", "")
        if request.method == "POST" and not length.isdigit():
            return _error("The request has no Content-Length header: send one.", 411)
        if length.isdigit() and int(length) > MAX_MEGABYTES << 20:
            return _error(f"The request is larger than {MAX_MEGABYTES} MB: compress the audio, or send parts.", 413)
        response: Response = await call_next(request)
        return response

    @app.post("/v1/audio/transcriptions")
    async def transcriptions(
        file: UploadFile,
        model: Annotated[str, Form()] = "",
        response_format: Annotated[Literal["json", "text", "srt", "vtt", "verbose_json"], Form()] = "json",
    ) -> Response:
        """Transcribes an audio file. The field `model` and further fields have no effect."""
        hypothesis, seconds = await service.transcribe(await file.read())
        return _transcription(hypothesis, seconds, response_format)

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket, rate: int = 16_000, encoding: str = "s16") -> None:
        """Receives pieces as binary messages, and a text message as the end; answers each with `{"text", "final"}`."""
        await socket.accept()
        try:
            live = await anyio.to_thread.run_sync(service.listen, rate, encoding)
            final = False
            while not final:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                piece, final = message.get("bytes") or b"", message.get("text") is not None
                if len(piece) > _MAX_MESSAGE or len(piece) % _ENCODINGS[encoding].itemsize:
                    raise HFSpeechError(f"Send complete {encoding} samples, at most {_MAX_MESSAGE} bytes at a time.")
                text = await service.accept(live, piece, final)
                await socket.send_json({"text": text, "final": final})
            await socket.close()
        except HFSpeechError as error:
            await socket.send_json({"error": {"message": str(error)}})
            await socket.close(1013 if isinstance(error, BusyError) else 1003)
        except WebSocketDisconnect:
            pass

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """Lists the model that is served."""
        return {"object": "list", "data": [{"id": service.name, "object": "model", "owned_by": "hf_speech"}]}

    @app.get("/health")
    def health() -> dict[str, str]:
        """Reports that the process is running."""
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        """Returns the counters of this process in the format of Prometheus."""
        lines = [f"hf_speech_{name}_total {count}" for name, count in sorted(service.counts.items())]
        return "\n".join([*lines, f"hf_speech_waiting {service.waiting}", ""])

    return app


def _transcription(hypothesis: Hypothesis, seconds: float, response_format: str) -> Response:
    """Formats a transcript in one of the formats of OpenAI's API."""
    if response_format == "text":
        return PlainTextResponse(f"{hypothesis.text}\n")
    if response_format in ("srt", "vtt"):
        cues = make_cues(hypothesis.words)
        return PlainTextResponse(to_srt(cues) if response_format == "srt" else to_vtt(cues))
    answer: dict[str, Any] = {"text": hypothesis.text}
    if response_format == "verbose_json":
        segments = [
            {"id": number, "start": cue.start / 1000, "end": cue.end / 1000, "text": " ".join(cue.lines)}
            for number, cue in enumerate(make_cues(hypothesis.words))
        ]
        words = [{"word": word.text, "start": word.start, "end": word.end} for word in hypothesis.words]
        answer |= {"task": "transcribe", "duration": seconds, "segments": segments, "words": words}
    return JSONResponse(answer)


def _error(message: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    """Formats an error as in OpenAI's API."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind}}, status, headers)


def app_of_process() -> FastAPI:
    """Creates the application of one process of a server; see `run_server`."""
    return create_app(Service(os.environ[_MODEL], os.environ.get(_REVISION)))


def listen(host: str, port: int) -> socket.socket:
    """Opens a port, so that errors are raised before the address is announced.

    Raises:
        HFSpeechError: If the address or the port cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]
        raise HFSpeechError(
            f"The address {host}:{port} cannot be used ({reason}): give another --port or --host."
        ) from error


def run_server(model: str, *, revision: str | None, host: str, port: int, processes: int) -> None:
    """Serves a recognizer until the process is stopped.

    Args:
        model: A model folder, a Hub id, or an exported folder.
        revision: Branch, tag or commit of a Hub model.
        host: The address to listen at.
        port: The port.
        processes: The number of worker processes.

    Raises:
        ModelError: If the model does not exist or is not a recognizer.
        HFSpeechError: If the address or the port cannot be used.
    """
    service = Service(model, revision)  # Reports errors of the model once, before the processes start.
    listener = listen(host, port)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/v1"
    if processes == 1:
        echo(f"Serving at {address}")
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(uvicorn.Config(create_app(service), log_level="warning")).run(sockets=[listener])
        return
    listener.close()  # It only checked that the address is free.
    echo(f"Starting {processes} processes at {address}")
    os.environ[_MODEL] = model
    if revision is not None:
        os.environ[_REVISION] = revision
    uvicorn.run(
        "hf_speech.serve:app_of_process", factory=True, workers=processes, host=host, port=port, log_level="warning"
    )
