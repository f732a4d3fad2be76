"""Alignment of transcribed recordings, and cutting at pauses."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.decoding.hypothesis import Word
from hf_speech.errors import HFSpeechError
from hf_speech.inference import load_model
from hf_speech.inference.aligning import CutOptions, align_rows, cut_recording
from hf_speech.training import load_rows

RATE = 8000


def sound(*parts: tuple[str, float]) -> np.ndarray:
    """Returns noise of the given durations, loud in parts named "loud" and quiet otherwise."""
    rng = np.random.default_rng(0)
    return np.concatenate(
        [rng.normal(0, 0.3 if kind == "loud" else 0.001, round(RATE * seconds)) for kind, seconds in parts]
    ).astype(np.float32)


def word(text: str, start: float, end: float) -> Word:
    return Word(text, start, end, 0.9)


THREE = sound(("loud", 2), ("quiet", 0.3), ("loud", 2), ("quiet", 0.5), ("loud", 2))
THREE_WORDS = (word("one", 0.5, 1.9), word("two", 2.5, 4.0), word("three", 5.0, 6.5))


def cuts(samples: np.ndarray, words: tuple[Word, ...], **options: float) -> list[tuple[float, float, str]]:
    pieces = cut_recording(samples, RATE, words, CutOptions(**options))
    return [(round(piece.start, 2), round(piece.end, 2), piece.text) for piece in pieces]


def test_cuts_pauses_between_words_in_the_middle() -> None:
    found = cuts(THREE, THREE_WORDS, max_seconds=2.5)
    assert [text for *_, text in found] == ["one", "two", "three"]
    starts, ends = [start for start, *_ in found], [end for _, end, _ in found]
    assert starts[1:] == ends[:-1]
    assert starts == pytest.approx([0, 2.15, 4.55], abs=0.02)
    assert ends[-1] == pytest.approx(6.8)


def test_cuts_the_longest_pause_first_and_keeps_short_pieces() -> None:
    assert [text for *_, text in cuts(THREE, THREE_WORDS, max_seconds=5)] == ["one two", "three"]
    assert [text for *_, text in cuts(THREE, THREE_WORDS, max_seconds=7)] == ["one two three"]


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (THREE_WORDS, {"min_seconds": 3.5}),  # pieces would be too short
        (THREE_WORDS, {"min_pause": 0.6}),  # no pause is long enough
        ((word("one", 0.5, 6.5),), {}),  # the pauses are inside of a word
        ((word("one", 0.1, 0.5), word("two", 0.8, 6.5)), {}),  # the words change where it is loud
        ((), {}),
    ],
)
def test_does_not_cut_a_short_recording(words: tuple[Word, ...], options: dict[str, float]) -> None:
    assert len(cuts(THREE, words, **{"max_seconds": 2.5, **options})) == 1


def test_constant_sound_has_no_pause() -> None:
    steady = sound(("loud", 7))
    assert len(cuts(steady, THREE_WORDS, max_seconds=2.5)) == 1
    assert len(cuts(np.zeros(80, dtype=np.float32), ())) == 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, make_beeps: Any) -> Path:
    """Recordings of four words with a long pause after the second."""
    folder = tmp_path_factory.mktemp("long")
    lines = ["path,text,speaker"]
    for index, text in enumerate(("ab ca bb ac", "cb aa ba cc")):
        words = text.split()
        halves = [make_beeps(" ".join(part), seed=70 + index) for part in (words[:2], words[2:])]
        pause = np.random.default_rng(index).normal(0, 0.003, 4000)
        soundfile.write(folder / f"{index}.wav", np.concatenate([halves[0], pause, halves[1]]), RATE)
        lines.append(f"{index}.wav,{text},speaker{index}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_align_writes_a_table_for_training(
    corpus: Path, beeps_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--corpus", "csv", "--train_file", str(corpus / "table.csv"), "--text_column", "text"]
    words += ["--speaker_column", "speaker", "--validation_fraction", "0", "--test_fraction", "0"]
    with pytest.raises(SystemExit) as ended:
        main(["align", str(beeps_run), *words, "--output", str(tmp_path), "--max_seconds", "2", "--min_seconds", "0.5"])
    assert ended.value.code == 0
    assert "4 pieces of 2 recordings" in capsys.readouterr().out
    with (tmp_path / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["text"], row["speaker"]) for row in rows] == [
        *[("ab ca", "speaker0"), ("bb ac", "speaker0"), ("cb aa", "speaker1"), ("ba cc", "speaker1")]
    ]
    for index in range(2):
        whole, _ = soundfile.read(corpus / f"{index}.wav")
        pieces = [soundfile.read(tmp_path / row["path"])[0] for row in rows if row["recording"] == str(index)]
        assert np.array_equal(np.concatenate(pieces), whole)
    # Each word's time: CTM of NIST, in the order of the recordings.
    times = [line.split() for line in (tmp_path / "train.ctm").read_text().splitlines()]
    assert [line[4] for line in times] == ["ab", "ca", "bb", "ac", "cb", "aa", "ba", "cc"]
    assert [line[0] for line in times] == ["0"] * 4 + ["1"] * 4
    begins = [float(line[2]) for line in times[:4]]
    assert begins == sorted(begins)
    assert begins[2] - begins[1] > 0.6


def test_reports_recordings_that_cannot_be_aligned(corpus: Path, beeps_run: Path, tmp_path: Path) -> None:
    loaded = load_model(str(beeps_run))
    arguments = ["--train_file", str(corpus / "table.csv"), "--text_column", "text"]
    arguments += ["--validation_fraction", "0", "--test_fraction", "0"]
    rows = load_rows(loaded, "csv", "train", arguments)[1].rows
    rows = rows.add_item({**rows[0], "text": "ab " * 100})
    counts = align_rows(loaded, rows, tmp_path)
    assert counts.recordings == 3
    assert len(counts.errors) == 1
    assert "frames" in counts.errors[0]
    with pytest.raises(HFSpeechError, match="already exists"):
        align_rows(loaded, rows, tmp_path)
