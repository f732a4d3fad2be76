"""Serves a recognizer to Home Assistant as a speech-to-text service, by the Wyoming protocol over TCP.

A client sends a recording in pieces and receives its text. The package wyoming implements the protocol. The queue and
the limits are those of the HTTP service.
"""

from __future__ import annotations

import asyncio
import io
import wave
from functools import partial
from typing import Any

from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import AsrModel, AsrProgram, Attribution, Describe, Info
from wyoming.server import AsyncEventHandler, AsyncServer

from hf_speech import __version__
from hf_speech.common.console import echo
from hf_speech.errors import HFSpeechError
from hf_speech.serve import MAX_MEGABYTES, Service, listen


class Handler(AsyncEventHandler):
    """The handler of one connection.

    Args:
        service: The recognizer.
        info: The answer to the event `describe`.
        *streams: The reader and the writer of the connection.
    """

    def __init__(self, service: Service, info: Info, *streams: Any) -> None:
        super().__init__(*streams)
        self._service, self._info = service, info
        self._chunks: list[AudioChunk] = []

    async def handle_event(self, event: Event) -> bool:
        """Handles an event; returns False to end the connection."""
        try:
            if Describe.is_type(event.type):
                await self.write_event(self._info.event())
            elif AudioStart.is_type(event.type):
                self._chunks = []
            elif AudioChunk.is_type(event.type):
                self._accept(AudioChunk.from_event(event))
            elif AudioStop.is_type(event.type):
                content, self._chunks = _wav(self._chunks), []
                hypothesis, _ = await self._service.transcribe(content)
                await self.write_event(Transcript(hypothesis.text).event())
        except (HFSpeechError, KeyError, TypeError, wave.Error) as error:
            await self.write_event(Error(str(error)).event())
            return False
        return True

    def _accept(self, chunk: AudioChunk) -> None:
        self._chunks.append(chunk)
        if sum(len(each.audio) for each in self._chunks) > MAX_MEGABYTES << 20:
            raise HFSpeechError(f"The recording is larger than {MAX_MEGABYTES} MB: send it in parts.")


def _wav(chunks: list[AudioChunk]) -> bytes:
    """Joins the pieces of a recording to a WAV file."""
    formats = {(chunk.channels, chunk.width, chunk.rate) for chunk in chunks}
    if len(formats) != 1:
        raise HFSpeechError("A recording needs at least one piece, and the same format for all pieces: send it again.")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        for name, value in zip(("setnchannels", "setsampwidth", "setframerate"), formats.pop(), strict=True):
            getattr(file, name)(value)
        file.writeframes(b"".join(chunk.audio for chunk in chunks))
    return content.getvalue()


def describe(service: Service, language: str) -> Info:
    """Describes the service for clients."""
    origin: dict[str, Any] = {"attribution": Attribution("hf_speech", ""), "installed": True, "version": __version__}
    model = AsrModel(service.name, description=service.name, languages=[language], **origin)
    return Info(asr=[AsrProgram("hf_speech", description="Small speech recognizers", models=[model], **origin)])


def run_wyoming(model: str, *, revision: str | None, host: str, port: int, language: str) -> None:
    """Serves a recognizer until the process is stopped.

    Args:
        model: A model folder, a Hub id, or an exported folder.
        revision: Branch, tag or commit of a Hub model.
        host: The address to listen at.
        port: The port.
        language: The language of the model, which clients select it by.

    Raises:
        ModelError: If the model does not exist or is not a recognizer.
        HFSpeechError: If the address or the port cannot be used.
    """
    service = Service(model, revision)
    handler = partial(Handler, service, describe(service, language))
    listen(host, port).close()  # The server would report an unusable address too late.
    echo(f"Serving at tcp://{host}:{port}")
    asyncio.run(AsyncServer.from_uri(f"tcp://{host}:{port}").run(handler))
