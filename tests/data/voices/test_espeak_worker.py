"""The worker process that runs eSpeak NG."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from hf_speech.data.voices import espeak_worker

pytest.importorskip("espeakng_loader", reason="eSpeak NG (espeakng_loader) is not installed")


def speak(folder: Path, *jobs: tuple[str, str, int, int]) -> subprocess.CompletedProcess[bytes]:
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, "-P", espeak_worker.__file__, folder / "jobs.json"]
    return subprocess.run(command, capture_output=True, check=False)


def test_duration_of_utterances_follows_the_pace(tmp_path: Path) -> None:
    """Words as short as these take slightly less time than the average word, to which the pace refers."""
    paces = (100, 160, 240)
    done = speak(tmp_path, *(("seven eight nine ten " * 5, "en-us+m3", 50, pace) for pace in paces))
    (rate,) = struct.unpack_from("<I", done.stdout)
    assert rate == 22_050
    position = 4
    for pace in paces:
        (count,) = struct.unpack_from("<I", done.stdout, position)
        position += 4 + 2 * count
        assert 1.0 < 20 / (count / rate / 60) / pace < 1.35
    assert position == len(done.stdout)


def test_one_sentence_error_for_an_unknown_voice(tmp_path: Path) -> None:
    done = speak(tmp_path, ("a", "no such voice", 50, 160))
    assert done.returncode == 1
    assert done.stderr.decode().strip() == "eSpeak NG has no voice 'no such voice'"
