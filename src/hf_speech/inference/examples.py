"""Chooses the example recordings of a Space for a model; each file is named after its transcript."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hf_speech.inference.decoders import load_lexicon
from hf_speech.inference.recognizer import Recognizer


def choose_examples(space: Path, labels: Iterable[str], recognizer: Recognizer | None = None) -> list[Path]:
    """Returns the examples of a Space that a model can answer correctly.

    These are the English sentences in `sentences/` if the recognizer's pronouncing dictionary has all of their words.
    Otherwise, they are the files in `examples/` that are named after a class, or that the letters of the model can
    spell.

    Args:
        space: The folder of the Space.
        labels: Classes, or the tokens of a recognizer.
        recognizer: The model, if it is a recognizer.
    """
    sentences = sorted((space / "sentences").glob("*.flac"))
    lexicon = load_lexicon(recognizer) if recognizer is not None and sentences else None
    if lexicon is not None and all(lexicon.covers(path.stem) for path in sentences):
        return sentences
    known = {label.casefold() for label in labels} | {" "}
    examples = sorted((space / "examples").glob("*.flac"))
    return [path for path in examples if path.stem in known or known.issuperset(path.stem)]
