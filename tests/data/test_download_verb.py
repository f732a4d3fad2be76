"""Tests of `hf-speech download` with a server that breaks connections or serves wrong content."""

from __future__ import annotations

import hashlib
import io
import tarfile
from http.server import ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.data import make_corpus
from hf_speech.data.corpora import speech_commands


@pytest.fixture
def served(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThreadingHTTPServer:
    """Speech Commands with two words, on the server."""
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    rng = np.random.default_rng(0)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for word in ("yes", "no"):
            for speaker in ("0a7c2a8d", "a69b9b3e", "c50f55b8"):
                sound = io.BytesIO()
                soundfile.write(sound, rng.normal(0, 0.1, 16_000), 16_000, format="WAV")
                add(f"{word}/{speaker}_nohash_0.wav", sound.getvalue())
        for file, speaker in (("validation_list.txt", "a69b9b3e"), ("testing_list.txt", "c50f55b8")):
            add(file, "".join(f"{word}/{speaker}_nohash_0.wav\n" for word in ("yes", "no")).encode())
    server.content = archive.getvalue()
    monkeypatch.setattr(speech_commands, "URL", f"http://127.0.0.1:{server.server_port}/speech_commands_{{}}.tar.gz")
    monkeypatch.setitem(speech_commands.ARCHIVES, "v0.02", hashlib.sha256(server.content).hexdigest())
    return server


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(["download", *words])
    return int(exit_.value.code or 0)


def test_resumes_a_broken_download_and_reuses_it(served, tmp_path, capsys):
    served.breaks = 1
    assert run("speech_commands") == 0
    assert served.requests == [None, f"bytes={len(served.content) // 3}-"]
    printed = capsys.readouterr()
    folder = tmp_path / "cache" / "speech_commands" / "v0.02"
    assert printed.out == f"Google Speech Commands is in {folder}; recipes find it there without --data_dir.\n"
    assert len(make_corpus("speech_commands").load()["test"]) == 2
    assert run("speech_commands") == 0
    assert len(served.requests) == 2, "what is there is not fetched again"


def test_continues_the_download_of_an_earlier_run(served, tmp_path, capsys):
    served.breaks = 100
    assert run("speech_commands") == 2
    assert "the connection broke after" in capsys.readouterr().err
    got = next((tmp_path / "cache" / "downloads").glob("*.part")).stat().st_size
    served.breaks = 0
    served.requests.clear()
    assert run("speech_commands") == 0
    assert served.requests == [f"bytes={got}-"]


def test_rejects_a_corrupted_download_and_leaves_nothing(served, tmp_path, capsys):
    served.content = served.content[:-1] + b"?"
    assert run("speech_commands") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: Speech Commands v0.02 is not on this machine, and http://127.0.0.1:")
    assert "is not the file expected (sha256" in error
    assert not (tmp_path / "cache" / "speech_commands" / "v0.02").exists()
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["speech_comands"], "did you mean 'speech_commands'"),
        (["speech_commands", "--version", "v3"], "corpus.version"),
        (["speech_commands", "--versoin", "v0.01"], "unknown key 'versoin'"),
        (["folder"], "has no archive to download"),
        (["savee"], "get it at http"),
    ],
)
def test_one_sentence_error_for_mistakes(words, message, capsys):
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
