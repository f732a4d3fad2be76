"""Fixtures for tests of decoders: a recording, a language model and `hf-speech transcribe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.decoding import build_arpa

RATE = 8000


SENTENCES = ["ab c", "c ab", "ab ab c", "c c", "cab", "b a"] * 5


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory, make_beeps: Any) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, make_beeps("ab c"), RATE)
    return str(path)


@pytest.fixture(scope="session")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_arpa(SENTENCES, 2, tmp_path_factory.mktemp("lm") / "lm.arpa").path)


@pytest.fixture
def transcribe(beeps_run: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `hf-speech transcribe RUN CLIP words...` and returns its exit status, output and errors."""

    def run(*words: str, model: Path = beeps_run, files: tuple[str, ...] = (clip,)) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["transcribe", str(model), *files, *words])
        return int(exit_.value.code or 0), *capsys.readouterr()

    return run


def read_scores(output: str) -> dict[str, float]:
    rows = [line.split("\t") for line in output.splitlines()]
    return {text: float(score) for score, text in rows}
