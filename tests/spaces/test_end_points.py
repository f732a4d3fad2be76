"""The endpoints of the Spaces: gradio_client, MCP, and blocked routes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from .conftest import PATIENCE, SPACES, RunningSpace

# Slow until its duration has been measured on an idle machine.
pytestmark = pytest.mark.slow

gradio_client = pytest.importorskip("gradio_client", reason="needs gradio: pip install 'hf_speech[demo]'")
EXAMPLES = SPACES / "transcribe" / "examples"
DIGITS = EXAMPLES / "five one two eight six three.flac"


def connect(space: RunningSpace) -> Any:
    patience = {"timeout": PATIENCE}
    return gradio_client.Client(space.url, verbose=False, analytics_enabled=False, httpx_kwargs=patience)


@pytest.fixture(scope="module")
def transcriber(transcribing: RunningSpace) -> Any:
    return connect(transcribing)


@pytest.fixture(scope="module")
def classifier(classifying: RunningSpace) -> Any:
    return connect(classifying)


def file(path: Path) -> Any:
    return gradio_client.handle_file(str(path))


def refusal(client: Any, *arguments: Any, api_name: str) -> str:
    with pytest.raises(gradio_client.exceptions.AppError) as error:
        client.predict(*arguments, api_name=api_name)
    message = str(error.value)
    assert "Traceback" not in message
    return message


def test_serves_only_the_documented_endpoints(transcriber: Any, classifier: Any) -> None:
    end_points = transcriber.view_api(return_format="dict")["named_endpoints"]
    assert set(end_points) == {"/transcribe", "/subtitles", "/transcribe_files", "/describe"}
    assert "time and confidence of each word" in end_points["/transcribe"]["description"]
    names = [parameter["parameter_name"] for parameter in end_points["/subtitles"]["parameters"]]
    assert names == ["sound", "format", "language_model"]
    end_points = classifier.view_api(return_format="dict")["named_endpoints"]
    assert set(end_points) == {"/classify", "/classify_files", "/describe"}


def test_transcribe(transcriber: Any, transcripts: dict[str, dict[str, str]]) -> None:
    for name, said in transcripts.items():
        answer = transcriber.predict(file(EXAMPLES / name), False, api_name="/transcribe")
        assert answer["text"] == said["best path"]
        assert answer["duration"] == pytest.approx(soundfile.info(EXAMPLES / name).duration, abs=0.01)
        assert [word["text"] for word in answer["words"]] == answer["text"].split()
        times = [time for word in answer["words"] for time in (word["start"], word["end"])]
        assert times == sorted(times)
        assert all(0 < word["confidence"] <= 1 for word in answer["words"])


def test_uses_the_language_model_on_request(transcriber: Any, transcripts: dict[str, dict[str, str]]) -> None:
    assert transcriber.predict(api_name="/describe")["language_model"] is True
    for name, said in transcripts.items():
        answer = transcriber.predict(file(EXAMPLES / name), True, api_name="/transcribe")
        assert answer["text"] == said["language model"]


def test_subtitles_equal_python(transcriber: Any, transcripts: dict[str, dict[str, str]]) -> None:
    text = transcripts[DIGITS.name]["best path"]
    for extension, beginning in (("srt", "1\n00:00:"), ("vtt", "WEBVTT\n\n00:00:"), ("txt", text), ("json", "{")):
        content = transcriber.predict(file(DIGITS), extension, False, api_name="/subtitles")
        assert content.startswith(beginning)
        assert text in content


def test_processes_several_files_with_a_bad_one(
    transcriber: Any, classifier: Any, transcripts: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "notes.wav").write_text("these are words")
    sounds = [file(DIGITS), file(tmp_path / "notes.wav"), file(DIGITS)]
    answers = transcriber.predict(sounds, False, api_name="/transcribe_files")
    assert [answer["file"] for answer in answers] == [DIGITS.name, "notes.wav", DIGITS.name]
    assert answers[0]["text"] == answers[2]["text"] == transcripts[DIGITS.name]["best path"]
    assert answers[1] == {
        "file": "notes.wav",
        "error": "notes.wav is not a sound in a supported format: use wav, flac, ogg, opus, mp3 or aiff.",
    }
    answers = classifier.predict(
        [file(SPACES / "classify" / "examples" / "seven.flac"), file(tmp_path / "notes.wav")],
        2,
        api_name="/classify_files",
    )
    assert answers[0]["label"] == "seven"
    assert "not a sound" in answers[1]["error"]
    assert "(limit: 20): upload fewer" in refusal(transcriber, [file(DIGITS)] * 21, False, api_name="/transcribe_files")


def test_classify(classifier: Any) -> None:
    for word in ("zero", "two", "seven"):
        answer = classifier.predict(file(SPACES / "classify" / "examples" / f"{word}.flac"), 3, api_name="/classify")
        assert answer["label"] == answer["labels"][0]["label"] == word
        scores = [label["score"] for label in answer["labels"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)


def test_describe(transcriber: Any, classifier: Any) -> None:
    answer = transcriber.predict(api_name="/describe")
    assert answer["model"] == "an4"
    assert answer["streams"] is False
    assert answer["max_megabytes"] == 3
    assert classifier.predict(api_name="/describe")["labels"][7] == "seven"


def test_accepts_recordings_of_browsers(transcriber: Any, classifier: Any, tmp_path: Path) -> None:
    """Stereo, 48 kHz, int16 gives the same answer as the file."""
    for client, name, original, expected in (
        (transcriber, "/transcribe", DIGITS, "text"),
        (classifier, "/classify", SPACES / "classify" / "examples" / "two.flac", "label"),
    ):
        import soxr

        samples, rate = soundfile.read(original, dtype="float32")
        recorded = np.clip(soxr.resample(samples, rate, 48_000), -1, 1)
        path = tmp_path / "audio.wav"
        soundfile.write(path, np.stack([recorded, recorded], axis=1), 48_000, subtype="PCM_16")
        answers = [client.predict(file(sound), *_options(name), api_name=name) for sound in (original, path)]
        assert answers[0][expected] == answers[1][expected]


def _options(name: str) -> list[Any]:
    return [False] if name == "/transcribe" else [3]


def test_silence_and_noise(transcriber: Any, classifier: Any, tmp_path: Path) -> None:
    silence, noise = tmp_path / "silence.wav", tmp_path / "noise.wav"
    soundfile.write(silence, np.zeros(16_000), 16_000)
    soundfile.write(noise, np.random.default_rng(0).normal(0, 0.1, 32_000), 16_000)
    assert transcriber.predict(file(silence), False, api_name="/transcribe")["text"] == ""
    assert isinstance(transcriber.predict(file(noise), False, api_name="/transcribe")["text"], str)
    assert "silence.wav is silent" in refusal(classifier, file(silence), 3, api_name="/classify")
    scores = [entry["score"] for entry in classifier.predict(file(noise), 10, api_name="/classify")["labels"]]
    assert sum(scores) == pytest.approx(1, abs=1e-4)


def test_errors_are_sentences(transcriber: Any, tmp_path: Path) -> None:
    long = tmp_path / "long.flac"
    soundfile.write(long, np.zeros(2 * 3600 * 1000, np.int16), 1000)
    assert "long.flac is 2 hours long (limit: 5 minutes)" in refusal(
        transcriber, file(long), False, api_name="/transcribe"
    )
    assert "doc" in refusal(transcriber, file(DIGITS), "doc", False, api_name="/subtitles")
    assert "There is no sound yet" in refusal(transcriber, None, False, api_name="/transcribe")
    assert "There is no sound yet" in refusal(transcriber, [], False, api_name="/transcribe_files")


def test_rejects_a_large_file_during_the_upload(transcriber: Any, tmp_path: Path) -> None:
    large = tmp_path / "large.wav"
    soundfile.write(large, np.random.default_rng(0).normal(0, 0.1, 2_000_000), 16_000)  # 4 MB, and 3 are taken
    with pytest.raises(Exception, match=r"413|exceed"):
        transcriber.predict(file(large), False, api_name="/transcribe")


SECRETS = (
    "/etc/passwd",
    "../../etc/passwd",
    "../../../../../../etc/passwd",
    "..%2f..%2fetc/passwd",
    "file:///etc/passwd",
    str(SPACES / "transcribe" / "app.py"),
    "app.py",
    str(SPACES.parent / "pretrained" / "an4" / "model.safetensors"),
    "/proc/self/environ",
)


@pytest.mark.parametrize("path", SECRETS)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/file=", "/gradio_api/file/", "/static/", "/assets/"])
def test_does_not_serve_server_paths(transcribing: RunningSpace, route: str, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{transcribing.url}{route}{path}", timeout=PATIENCE)
    assert refused.value.code in (400, 403, 404)


@pytest.mark.parametrize("path", [SECRETS[0], SECRETS[5], SECRETS[7]])
@pytest.mark.parametrize("end_point", ["transcribe", "transcribe_files"])
def test_does_not_transcribe_server_paths(transcribing: RunningSpace, path: str, end_point: str) -> None:
    """Clients can claim that any path is an upload."""
    sound: Any = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [[sound] if end_point == "transcribe_files" else sound, False]}
    request = urllib.request.Request(
        f"{transcribing.url}/gradio_api/call/{end_point}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    event = json.load(urllib.request.urlopen(request, timeout=PATIENCE))["event_id"]
    url = f"{transcribing.url}/gradio_api/call/{end_point}/{event}"
    answer = urllib.request.urlopen(url, timeout=PATIENCE).read().decode()
    assert "event: error" in answer
    assert "event: complete" not in answer
    assert "This sound is no longer stored" in answer
    assert '"text"' not in answer


def test_disables_pages_with_data_of_others(transcribing: RunningSpace) -> None:
    for path in ("/monitoring", "/gradio_api/runs"):
        try:
            body = urllib.request.urlopen(f"{transcribing.url}{path}", timeout=PATIENCE).read()
        except urllib.error.HTTPError:
            continue
        assert b"calls" not in body.lower() or b"monitoring" not in body.lower(), path


def test_handles_fifty_simultaneous_requests(classifying: RunningSpace) -> None:
    """All requests are answered, and a second round uses no more memory than the first."""
    example = file(SPACES / "classify" / "examples" / "seven.flac")
    clients = [connect(classifying) for _ in range(5)]

    def ask(index: int) -> str:
        return str(clients[index % len(clients)].predict(example, 1, api_name="/classify")["label"])

    def round_of_fifty() -> int:
        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(ask, range(50))) == ["seven"] * 50
        return resident_kilobytes(classifying.process.pid)

    first = round_of_fifty()
    second = round_of_fifty()
    third = round_of_fifty()
    assert third - second < 20_000, (first, second, third)
    for client in clients:
        client.close()


def resident_kilobytes(pid: int) -> int:
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)


def test_works_as_an_mcp_server(transcribing: RunningSpace) -> None:
    mcp = pytest.importorskip("mcp", reason="needs gradio's extra mcp")
    from mcp.client.streamable_http import streamable_http_client

    async def ask() -> tuple[dict[str, Any], Any]:
        async with (
            streamable_http_client(f"{transcribing.url}/gradio_api/mcp/") as (read, write, _),
            mcp.ClientSession(read, write) as session,
        ):
            await session.initialize()
            tools = {tool.name: tool for tool in (await session.list_tools()).tools}
            name = next(name for name in tools if name.endswith("describe"))
            return tools, await session.call_tool(name, {})

    tools, answer = asyncio.run(asyncio.wait_for(ask(), PATIENCE))
    names = {name.rsplit("_an4_", 1)[-1] for name in tools}
    assert any(name.endswith("transcribe") for name in names)
    assert any(name.endswith("subtitles") for name in names)
    transcribe = next(tool for name, tool in tools.items() if name.endswith("transcribe"))
    assert "confidence of each word" in transcribe.description
    assert "sound" in transcribe.inputSchema["properties"]
    assert "automatic-speech-recognition" in answer.content[0].text
