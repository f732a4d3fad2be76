"""The delays of words in live transcription, as defined and reported in docs/publishing.md.

`pytest tests/web/test_live.py -s` prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.export.exporting import export_model
from hf_speech.inference import load_model
from hf_speech.publishing.web_page import served

REPOSITORY = Path(__file__).resolve().parents[2]
PIECE = 0.1  # Seconds, as in spaces/static/microphone.js.
RATE = 16_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal recognizer with a language model and rescoring by phones."""
    folder = tmp_path_factory.mktemp("exported")
    export_model(load_model(REPOSITORY / "pretrained" / "an4-streaming", "cpu"), folder, int8=False, packed=True)
    return folder


class Delays:
    """Delays of words in seconds, measured from their ends plus the model's latency.

    Attributes:
        first: Until there is any word in the position.
        right: Until the word is that of the final text.
        final: Until it and all earlier words are final.
        changed: Number of changes of words that were not the last one.
    """

    def __init__(self, run: Any, folder: Path, paths: Sequence[Path], **options: Any) -> None:
        pauses = [np.zeros(round(seconds * RATE)) for seconds in (0.5, 1.0)]
        sounds = [np.concatenate([pauses[0], soundfile.read(path)[0], pauses[1]]).round(5).tolist() for path in paths]
        with served(folder) as url:
            options = {"precision": "packed", **options}
            answers = run("live", url=url, options=options, sounds=sounds, samples=round(PIECE * RATE))
        self.first, self.right, self.final, self.changed = [], [], [], 0
        for answer in answers:
            text = [word["text"] for word in answer["words"]]
            known = [*answer["known"], text]
            self.changed += sum(a[:i] != b[:i] for a, b in pairwise(known) for i in [len(a) - 1])
            for index, word in enumerate(answer["words"]):
                due = word["end"] + answer["latency"]
                end = index + 1
                pieces = [
                    next(i for i, words in enumerate(known) if len(words) >= end),
                    next(i for i, words in enumerate(known) if words[index:end] == text[index:end]),
                    1 + max(i for i, words in enumerate(known) if words[:end] != text[:end]),
                ]
                for delays, piece in zip((self.first, self.right, self.final), pieces, strict=True):
                    delays.append(max(0.0, PIECE * (piece + 1) - due))

    def print(self, title: str) -> None:
        print(f"\n{title}: {len(self.first)} words, {self.changed} changes of a word that was not the last")
        for name in ("first", "right", "final"):
            delays = 1000 * np.array(getattr(self, name))
            late = (delays > 300).sum()
            print(f"{name}: median {np.median(delays):.0f} ms, longest {delays.max():.0f} ms, {late} over 300 ms")


def test_words_of_the_examples(run: Any, folder: Path) -> None:
    paths = sorted((REPOSITORY / "spaces" / "transcribe" / "examples").iterdir())
    with_model, without = (Delays(run, folder, paths, languageModel=use) for use in (True, False))
    with_model.print("with the language model")
    without.print("without")
    assert len(with_model.first) == len(without.first) == 22
    assert max(without.final) < 0.1
    assert max(with_model.first) < 0.3
    # A letter is right only when the next ones are known, and two words before and behind it wait for that.
    assert sorted(with_model.right)[-2] < 0.3
    assert sorted(with_model.final)[-4] < 0.3
    assert with_model.changed <= 2


@pytest.mark.corpora
def test_words_of_a_corpus(run: Any, folder: Path, corpora_dir: Path) -> None:
    paths = sorted((corpora_dir / "an4" / "wav" / "an4test_clstk").rglob("*.sph"))
    delays = Delays(run, folder, paths)
    delays.print("AN4's test recordings")
    assert len(delays.first) > 700
    assert np.percentile(delays.first, 99.5) < 0.3
    assert np.percentile(delays.right, 95) < 0.3
    assert delays.changed < 50
