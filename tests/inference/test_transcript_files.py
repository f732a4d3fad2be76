"""File names of transcripts: as short as possible, and unique."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_speech.errors import AudioError
from hf_speech.inference.transcription import transcript_files


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a/one.wav", "two.flac"], ["one", "two"]),
        (["a/take1.wav", "b/take1.wav", "a/take1.flac"], ["a-take1.wav", "b-take1.wav", "take1.flac"]),
        (["take1.wav", "take1.mp3"], ["take1.wav", "take1.mp3"]),
        (["x/a/t.wav", "y/a/t.wav", "z.wav"], ["x-a-t.wav", "y-a-t.wav", "z"]),
        (["one.wav", "one.wav", "./one.wav"], ["one", "one", "one"]),
        # A file with the name of another one's transcript.
        (["a/t.wav", "b/t.wav", "t.wav.flac"], ["a-t.wav", "b-t.wav", "t.wav"]),
        (["a-b/c.wav", "a/b-c.wav"], ["c", "b-c"]),
        # File systems may ignore case, and the form of accents.
        (["ONE.wav", "one.wav"], ["ONE-2", "one-3"]),
        (["caf\u00e9.wav", "cafe\u0301.flac"], ["caf\u00e9.wav", "cafe\u0301.flac"]),
        ([], []),
    ],
)
def test_every_recording_gets_a_unique_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[str], names: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    targets = transcript_files(sources, Path("out"), ".srt")
    assert targets == [Path("out", f"{name}.srt") for name in names]


def test_transcripts_do_not_overwrite_recordings(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="would replace the sound file"):
        transcript_files([tmp_path / "a.txt"], tmp_path, ".txt")
    assert transcript_files([tmp_path / "a.txt"], tmp_path, ".srt") == [tmp_path / "a.srt"]
