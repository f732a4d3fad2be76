"""The Wyoming service, tested with the client of the package wyoming."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_models import *  # noqa: F403

pytest.importorskip("wyoming", reason="wyoming is not installed: pip install '.[wyoming]'")
pytest.importorskip("fastapi", reason="fastapi is not installed: pip install '.[serve]'")
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info

from hf_speech import serve_wyoming
from hf_speech.errors import HFSpeechError
from hf_speech.serve import Service


def ask(service: Service, *events: Event) -> list[Event]:
    """Returns the answers of a server to the events of one connection."""

    async def talk() -> list[Event]:
        handler = partial(serve_wyoming.Handler, service, serve_wyoming.describe(service, "en"))

        def connected(reader: Any, writer: Any) -> None:
            tasks.append(asyncio.create_task(handler(reader, writer).run()))

        tasks: list[Any] = []
        answers = []
        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            async with AsyncTcpClient("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
                for event in events:
                    await client.write_event(event)
                    if event.type in ("describe", "audio-stop"):
                        answers.append(await client.read_event())
            await asyncio.gather(*tasks)
        return [answer for answer in answers if answer is not None]

    return asyncio.run(talk())


def recording(samples: np.ndarray, rate: int, width: int = 2) -> list[Event]:
    data = np.round(samples * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}").tobytes()
    pieces = [data[at : at + 1000 * width] for at in range(0, len(data), 1000 * width)]
    chunks = [AudioChunk(rate, width, 1, piece).event() for piece in pieces]
    return [Transcribe().event(), AudioStart(rate, width, 1).event(), *chunks, AudioStop().event()]


def test_transcribes_recordings(exported_beeps: Path, make_beeps: Any) -> None:
    service = Service(str(exported_beeps))
    events = [*recording(make_beeps("abc a"), 8000), *recording(make_beeps("cab", 16_000), 16_000, width=4)]
    described, *answers = ask(service, Describe().event(), *events)
    (program,) = Info.from_event(described).asr
    assert (program.models[0].name, program.models[0].languages) == (str(exported_beeps), ["en"])
    assert [Transcript.from_event(answer).text for answer in answers] == ["abc a", "cab"]


def test_rejects_invalid_requests(exported_beeps: Path, make_beeps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(str(exported_beeps))

    def error(*events: Event) -> str:
        (answer,) = ask(service, *events)
        return Error.from_event(answer).text

    assert "at least one piece" in error(AudioStart(8000, 2, 1).event(), AudioStop().event())
    half = recording(make_beeps("a"), 8000)[:-1]
    assert "the same format for all pieces" in error(*half, *recording(make_beeps("a"), 16_000)[2:])
    monkeypatch.setattr(serve_wyoming, "MAX_MEGABYTES", 0)
    (answer,) = ask(service, *recording(make_beeps("a"), 8000))
    assert "larger than 0 MB" in Error.from_event(answer).text


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid"])
def test_reports_a_used_port_before_the_announcement(
    exported_beeps: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            HFSpeechError, match=f"The address {host}:{port} cannot be used .* another --port or --host"
        ):
            serve_wyoming.run_wyoming(str(exported_beeps), revision=None, host=host, port=port, language="en")
    assert "Serving" not in capsys.readouterr().out
